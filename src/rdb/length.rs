//! Lengths in RDB data: 6 or 14 bits in the first byte or two, or a marker byte and 32 or 64 bits, big-endian; or, in place of a
//! length, six bits that name a special encoding.

use super::{Reason, take_array};

const MARK_32_BITS: u8 = 0x80;
const MARK_64_BITS: u8 = 0x81;
const MARK_14_BITS: u8 = 0x40;
const MARK_ENCODING: u8 = 0xc0;
const LOW_6_BITS: u8 = 0x3f;

/// What stands where a length may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Plain(u64),
    /// No length: what follows is encoded in this special way.
    Encoding(u8),
}

/// Appends a length in the shortest form.
#[inline]
pub fn write(out: &mut Vec<u8>, len: u64) {
    if len < 1 << 6 {
        out.push(len as u8);
    } else if len < 1 << 14 {
        out.extend_from_slice(&(len as u16 | u16::from(MARK_14_BITS) << 8).to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        out.push(MARK_32_BITS);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(MARK_64_BITS);
        out.extend_from_slice(&len.to_be_bytes());
    }
}

/// Appends the mark of a special encoding, which is below 64.
pub fn write_encoding(out: &mut Vec<u8>, encoding: u8) {
    debug_assert!(encoding <= LOW_6_BITS);
    out.push(MARK_ENCODING | encoding);
}

/// Reads a length, or the mark of a special encoding, off `input`.
#[inline]
pub fn read(input: &mut &[u8]) -> Result<Length, Reason> {
    let [first] = take_array(input)?;
    let plain = match first & !LOW_6_BITS {
        0 => u64::from(first),
        MARK_14_BITS => {
            let [second] = take_array(input)?;
            u64::from(first & LOW_6_BITS) << 8 | u64::from(second)
        }
        MARK_ENCODING => return Ok(Length::Encoding(first & LOW_6_BITS)),
        _ => match first {
            MARK_32_BITS => u64::from(u32::from_be_bytes(take_array(input)?)),
            MARK_64_BITS => u64::from_be_bytes(take_array(input)?),
            _ => return Err(Reason::LengthForm(first)),
        },
    };
    Ok(Length::Plain(plain))
}

/// Reads what has to be a length off `input`.
pub fn read_plain(input: &mut &[u8]) -> Result<u64, Reason> {
    match read(input)? {
        Length::Plain(len) => Ok(len),
        Length::Encoding(encoding) => Err(Reason::NotALength(encoding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_has_its_bytes() {
        let cases: &[(u64, &[u8])] = &[
            (0, &[0]),
            (63, &[0x3f]),
            (64, &[0x40, 0x40]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (u32::MAX as u64, &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (len, bytes) in cases {
            let mut out = Vec::new();
            write(&mut out, *len);
            assert_eq!(out, *bytes);
            assert_eq!(read(&mut &bytes[..]), Ok(Length::Plain(*len)));
            for cut in 0..bytes.len() {
                assert!(matches!(read(&mut &bytes[..cut]), Err(Reason::Incomplete { .. })));
            }
        }
        assert_eq!(read(&mut &[0xc3][..]), Ok(Length::Encoding(3)));
        assert_eq!(read_plain(&mut &[0xc3][..]), Err(Reason::NotALength(3)));
        assert_eq!(read(&mut &[0x82, 0, 0, 0, 0, 0, 0, 0, 0][..]), Err(Reason::LengthForm(0x82)));
    }

    proptest! {
        #[test]
        fn any_length_comes_back(len: u64, shift in 0..64u32, rest: Vec<u8>) {
            let len = len >> shift;
            let mut bytes = Vec::new();
            write(&mut bytes, len);
            bytes.extend(&rest);
            let mut input = &bytes[..];
            prop_assert_eq!(read(&mut input), Ok(Length::Plain(len)));
            prop_assert_eq!(input, rest);
        }
    }
}
