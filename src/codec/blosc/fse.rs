//! A writer of the weights of a Huffman code, compressed by FSE with a table of 64 states.
//!
//! Source: RFC 8878, sections 4.1 (FSE) and 4.2.1.2 (FSE compression of Huffman weights).

/// Accuracy_Log of the table: 6 is the most that weights may have.
const LOG: u32 = 6;
const STATES: usize = 1 << LOG;
/// Weights are 0 to 11.
const SYMBOLS: usize = 12;

/// A state from which the decoder goes on to the one asked for, and the bits that tell it so.
#[derive(Clone, Copy, Default)]
struct Step {
    state: u8,
    n_bits: u8,
    bits: u8,
}

/// Appends `weights` to `out` and returns the number of bytes; none if they are all the same, or fewer than two.
pub(super) fn write_weights(weights: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let shares = shares(weights)?;
    let start = out.len();
    let mut bits = Bits { out, word: 0, n_bits: 0 };
    write_shares(&shares, &mut bits);
    bits.align();
    let (steps, firsts) = table(&shares);
    // Two states take turns, the first beginning. The decoder meets the weights in reverse of this order.
    let mut states = [None; 2];
    for (i, weight) in weights.iter().enumerate().rev() {
        let symbol = usize::from(*weight);
        let state = &mut states[i % 2];
        *state = Some(match *state {
            // The first of a symbol's states takes the most bits to leave. There are none, so decoding ends.
            None => firsts[symbol],
            Some(next) => {
                let step = steps[symbol][usize::from(next)];
                bits.push(step.bits.into(), step.n_bits.into());
                step.state
            }
        });
    }
    let [first, second] = states;
    bits.push(second?.into(), LOG);
    bits.push(first?.into(), LOG);
    bits.push(1, 1);
    bits.align();
    Some(out.len() - start)
}

/// Shares of the weights in the states, each that occurs at least 1.
fn shares(weights: &[u8]) -> Option<[usize; SYMBOLS]> {
    let mut counts = [0; SYMBOLS];
    weights.iter().for_each(|weight| counts[usize::from(*weight)] += 1);
    let mut shares = counts.map(|n: usize| if n == 0 { 0 } else { (n * STATES / weights.len()).max(1) });
    let most = (0..SYMBOLS).max_by_key(|symbol| shares[*symbol])?;
    // Rounding goes to the commonest: it has more than all that were raised to 1.
    shares[most] = STATES - (shares.iter().sum::<usize>() - shares[most]);
    (weights.len() >= 2 && shares[most] < STATES).then_some(shares)
}

/// Source: RFC 8878, section 4.1.1: a share is written, one higher, in as many bits as what is left to share out
/// asks for, small ones in one bit less; behind a share of 0 two bits say how many more of them follow.
fn write_shares(shares: &[usize; SYMBOLS], bits: &mut Bits) {
    bits.push(LOG - 5, 4);
    let mut left = STATES;
    let mut symbol = 0;
    while left > 0 {
        let value = shares[symbol] + 1;
        symbol += 1;
        // Values up to left + 1 may come, in bits enough for that.
        let n_bits = (left + 1).ilog2() + 1;
        let spare = (1 << n_bits) - 1 - (left + 1);
        let half = 1 << (n_bits - 1);
        match value {
            _ if value < spare => bits.push(value as u32, n_bits - 1),
            _ if value < half => bits.push(value as u32, n_bits),
            _ => bits.push((value + spare) as u32, n_bits),
        }
        left -= value - 1;
        if value == 1 {
            let mut zeros = shares[symbol..].iter().take_while(|share| **share == 0).count();
            symbol += zeros;
            while zeros >= 3 {
                bits.push(3, 2);
                zeros -= 3;
            }
            bits.push(zeros as u32, 2);
        }
    }
}

/// The decoder's table, turned round: for a symbol and the state after it, the state before; and the first state of
/// every symbol.
///
/// Source: RFC 8878, section 4.1.1, from "Symbols are scanned in their natural order" on.
fn table(shares: &[usize; SYMBOLS]) -> ([[Step; STATES]; SYMBOLS], [u8; SYMBOLS]) {
    let mut symbols = [0; STATES];
    let mut at = 0;
    for (symbol, share) in shares.iter().enumerate() {
        for _ in 0..*share {
            symbols[at] = symbol;
            at = (at + (STATES >> 1) + (STATES >> 3) + 3) % STATES;
        }
    }
    let mut steps = [[Step::default(); STATES]; SYMBOLS];
    let mut firsts = [0; SYMBOLS];
    let mut seen = *shares;
    for (state, symbol) in symbols.into_iter().enumerate() {
        let number = seen[symbol];
        seen[symbol] += 1;
        if number == shares[symbol] {
            firsts[symbol] = state as u8;
        }
        let n_bits = LOG - number.ilog2();
        let baseline = (number << n_bits) - STATES;
        for bits in 0..1 << n_bits {
            steps[symbol][baseline + bits] = Step { state: state as u8, n_bits: n_bits as u8, bits: bits as u8 };
        }
    }
    (steps, firsts)
}

/// Bits written from the lowest of the first byte on.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    n_bits: u32,
}

impl Bits<'_> {
    fn push(&mut self, value: u32, n_bits: u32) {
        self.word |= u64::from(value) << self.n_bits;
        self.n_bits += n_bits;
        while self.n_bits >= 8 {
            self.out.push(self.word as u8);
            self.word >>= 8;
            self.n_bits -= 8;
        }
    }

    /// Fills the last byte with zeros.
    fn align(&mut self) {
        self.push(0, self.n_bits.wrapping_neg() % 8);
    }
}
