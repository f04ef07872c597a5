//! Whether the numbers of a dataset are those of the machine. The library keeps of a type its size alone, so the type is
//! looked at as it is encoded.
//!
//! Source: the HDF5 file format specification, IV.A.2.d, the datatype message.

/// Sign bit, place and size of exponent and mantissa, and bias of floats of 2, 4 and 8 bytes in IEEE 754.
const IEEE: [(u64, [u64; 6]); 3] =
    [(2, [15, 10, 5, 0, 10, 15]), (4, [31, 23, 8, 0, 23, 127]), (8, [63, 52, 11, 0, 52, 1023])];

/// Looks for numbers that are not the machine's in a type as it is encoded.
///
/// # Errors
/// What was found, in words.
pub(super) fn check(datatype: &[u8]) -> Result<(), String> {
    let size = number(datatype, 4, 4)?;
    match number(datatype, 0, 1)? & 15 {
        0 | 4 => whole(datatype, size),
        1 => whole(datatype, size).and_then(|()| ieee(datatype, size)),
        6 => fields(datatype, size),
        // The type of the numbers that names are given to.
        8 => check(&datatype[8..]),
        _ => Ok(()),
    }
}

/// Little-endian number of `n` bytes.
fn number(bytes: &[u8], at: usize, n: usize) -> Result<u64, String> {
    let bytes = bytes.get(at..at + n).ok_or("a type that is cut off")?;
    Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Numbers fill their bytes.
fn whole(datatype: &[u8], size: u64) -> Result<(), String> {
    let (from, bits) = (number(datatype, 8, 2)?, number(datatype, 10, 2)?);
    if (from, bits) == (0, 8 * size) {
        return Ok(());
    }
    Err(format!("numbers of {bits} bits from bit {from} on in {size} bytes"))
}

fn ieee(datatype: &[u8], size: u64) -> Result<(), String> {
    let (flags, sign) = (number(datatype, 1, 1)?, number(datatype, 2, 1)?);
    let part = |at| number(datatype, at, 1);
    let found = [sign, part(12)?, part(13)?, part(14)?, part(15)?, number(datatype, 16, 4)?];
    // Order of bytes as of a VAX, and a first bit of the mantissa that is not left out.
    let (is_vax, is_implied) = (flags & 0x40 != 0, flags >> 4 & 3 == 2);
    if IEEE.contains(&(size, found)) && is_implied && !is_vax {
        return Ok(());
    }
    let order = if is_vax { " in the byte order of a VAX" } else { "" };
    let [_, _, exponent, _, mantissa, bias] = found;
    Err(format!(
        "floats of {size} bytes{order} with {exponent} bits of exponent, bias {bias}, and {mantissa} of mantissa"
    ))
}

/// The two floats of a complex number.
fn fields(datatype: &[u8], size: u64) -> Result<(), String> {
    let version = number(datatype, 0, 1)? >> 4;
    let mut at = 8;
    for _ in 0..number(datatype, 1, 2)? {
        let name = datatype.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0));
        let name_bytes = name.ok_or("a type that is cut off")? + 1;
        at += match version {
            // Name, offset, and dimensions that are no more used.
            1 => name_bytes.next_multiple_of(8) + 4 + 28,
            2 => name_bytes.next_multiple_of(8) + 4,
            _ if size < 256 => name_bytes + 1,
            _ => return Err(format!("structures of {size} bytes")),
        };
        let float = datatype.get(at..).unwrap_or_default();
        if number(float, 0, 1)? & 15 != 1 {
            return Err("structures".to_owned());
        }
        check(float)?;
        at += 20;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    /// As they are encoded in version 1.
    fn integer(size: u8, from: u8, bits: u8) -> Vec<u8> {
        vec![0x10, 8, 0, 0, size, 0, 0, 0, from, 0, bits, 0]
    }

    fn float(size: u8, sign: u8, parts: [u8; 4], bias: u8) -> Vec<u8> {
        [&[0x11, 0x20, sign, 0, size, 0, 0, 0, 0, 0, 8 * size, 0], &parts[..], &[bias, 0, 0, 0]].concat()
    }

    #[test]
    fn numbers_of_the_machine_pass() {
        assert_eq!(check(&integer(2, 0, 16)), Ok(()));
        assert_eq!(check(&float(4, 31, [23, 8, 0, 23], 127)), Ok(()));
        assert_eq!(check(&float(2, 15, [10, 5, 0, 10], 15)), Ok(()));
        let named = [&[0x38, 2, 0, 0, 1, 0, 0, 0], &integer(1, 0, 8)[..], b"FALSE\0TRUE\0\0\x01"].concat();
        assert_eq!(check(&named), Ok(()));
        let of = float(4, 31, [23, 8, 0, 23], 127);
        let complex = [&[0x36, 2, 0, 0, 8, 0, 0, 0], &b"r\0\0"[..], &of, b"i\0\x04", &of].concat();
        assert_eq!(check(&complex), Ok(()));
    }

    #[test]
    fn others_are_told() {
        assert_eq!(check(&integer(2, 0, 12)).unwrap_err(), "numbers of 12 bits from bit 0 on in 2 bytes");
        assert!(check(&integer(2, 4, 16)).is_err());
        let bfloat = check(&float(2, 15, [7, 8, 0, 7], 127)).unwrap_err();
        assert_eq!(bfloat, "floats of 2 bytes with 8 bits of exponent, bias 127, and 7 of mantissa");
        assert!(check(&integer(2, 0, 16)[..10]).is_err());
        assert!(check(&[]).is_err());
    }
}
