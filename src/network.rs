//! Sorts many short columns at once with a sorting network over slices.
//!
//! One exchange orders two rows element by element, which the compiler vectorises; a column of eight costs 19
//! exchanges whatever its values. Networks are Batcher's odd-even merge sort (Knuth, TAOCP 3, section 5.2.2,
//! algorithm M), less the exchanges that no wanted rank depends on.

use multiversion::multiversion;

/// Columns that are sorted together: with [`MOST`] rows of 8 bytes they fill a second-level cache.
pub(crate) const WIDTH: usize = 128;

/// Longest column that is sorted by a network; longer ones are cheaper to sort one by one.
pub(crate) const MOST: usize = 512;

/// Exchanges that put the elements of the wanted ranks in their places.
pub(crate) struct Network {
    exchanges: Vec<(u16, u16)>,
}

impl Network {
    /// For columns of `n` elements, of which those of `ranks` are wanted.
    pub(crate) fn new(n: usize, ranks: &[usize]) -> Self {
        let mut exchanges = Vec::new();
        let mut p = n.next_power_of_two() / 2;
        let top = p;
        while p > 0 {
            let (mut q, mut r, mut d) = (top, 0, p);
            loop {
                for i in 0..n.saturating_sub(d) {
                    if i & p == r {
                        exchanges.push((i as u16, (i + d) as u16));
                    }
                }
                if q == p {
                    break;
                }
                (d, q, r) = (q - p, q / 2, p);
            }
            p /= 2;
        }
        let mut wanted = vec![false; n];
        ranks.iter().for_each(|&r| wanted[r] = true);
        let mut needed: Vec<_> = exchanges
            .into_iter()
            .rev()
            .filter(|&(a, b)| {
                let (a, b) = (usize::from(a), usize::from(b));
                let need = wanted[a] || wanted[b];
                wanted[a] |= need;
                wanted[b] |= need;
                need
            })
            .collect();
        needed.reverse();
        Self { exchanges: needed }
    }

    /// Pairs of rows, in order: the least of both goes to the first.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.exchanges.iter().copied()
    }

    /// Puts the wanted ranks of `WIDTH` columns of `keys`, which lie row by row, in their places.
    pub(crate) fn exchange<K: Copy + Ord>(&self, keys: &mut [K]) {
        exchange(&self.exchanges, keys);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn exchange<K: Copy + Ord>(exchanges: &[(u16, u16)], keys: &mut [K]) {
    for &(a, b) in exchanges {
        let (low, high) = keys.split_at_mut(usize::from(b) * WIDTH);
        let low = &mut low[usize::from(a) * WIDTH..][..WIDTH];
        let high = &mut high[..WIDTH];
        for (x, y) in low.iter_mut().zip(high) {
            (*x, *y) = if *y < *x { (*y, *x) } else { (*x, *y) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network sorts everything if it sorts every sequence of zeros and ones.
    #[test]
    fn networks_put_wanted_ranks_in_place() {
        for n in 1..=12 {
            let all: Vec<usize> = (0..n).collect();
            for ranks in [vec![n / 2], vec![(n - 1) / 2, n / 2], all] {
                let network = Network::new(n, &ranks);
                for bits in 0..1u32 << n {
                    let mut v: Vec<bool> = (0..n).map(|i| bits >> i & 1 == 1).collect();
                    for &(a, b) in &network.exchanges {
                        let (a, b) = (usize::from(a), usize::from(b));
                        (v[a], v[b]) = (v[a] & v[b], v[a] | v[b]);
                    }
                    let zeros = n - bits.count_ones() as usize;
                    assert!(ranks.iter().all(|&r| v[r] == (r >= zeros)), "n {n}, bits {bits:b}");
                }
            }
        }
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(Network::new(8, &all).exchanges.len(), 19);
    }
}
