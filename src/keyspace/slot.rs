//! Which of the 16384 hash slots a key belongs to, and which shard owns a slot.
//!
//! The slot is CRC16 (XMODEM) of the key's hash tag, or of the whole key when it has none, as the Redis Cluster
//! specification has it: the tag is what stands between the first `{` and the first `}` after it, unless that is empty.

use std::ops::Range;

pub const SLOTS: u16 = 1 << SLOT_BITS;
pub const SLOT_BITS: u32 = 14;

const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[k][b]`: the CRC of byte `b` with `k` zero bytes behind it, so that eight bytes take one step of eight independent look-ups.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[k - 1][byte];
            tables[k][byte] = shorter << 8 ^ tables[0][(shorter >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// CRC16/XMODEM.
pub fn crc16(bytes: &[u8]) -> u16 {
    let t = &TABLES;
    let mut crc = 0u16;
    let mut eights = bytes.chunks_exact(8);
    for b in &mut eights {
        crc = t[7][usize::from(b[0] ^ (crc >> 8) as u8)]
            ^ t[6][usize::from(b[1] ^ crc as u8)]
            ^ t[5][usize::from(b[2])]
            ^ t[4][usize::from(b[3])]
            ^ t[3][usize::from(b[4])]
            ^ t[2][usize::from(b[5])]
            ^ t[1][usize::from(b[6])]
            ^ t[0][usize::from(b[7])];
    }
    let mut rest = eights.remainder();
    if let [b0, b1, b2, b3, tail @ ..] = rest {
        crc = t[3][usize::from(b0 ^ (crc >> 8) as u8)]
            ^ t[2][usize::from(b1 ^ crc as u8)]
            ^ t[1][usize::from(*b2)]
            ^ t[0][usize::from(*b3)];
        rest = tail;
    }
    for byte in rest {
        crc = crc << 8 ^ t[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// The hash slot of a key.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) & (SLOTS - 1)
}

/// The hash tag, or the whole key.
#[inline]
fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = find_brace(key) else { return key };
    let behind = &key[open + 1..];
    match behind.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(length) => &behind[..length],
    }
}

/// The first `{`, eight bytes at a time: this runs over every key of every command.
#[inline]
fn find_brace(key: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    let mut eights = key.chunks_exact(8);
    let mut any = 0u64;
    for chunk in &mut eights {
        let different = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8])) ^ BRACES;
        any |= different.wrapping_sub(ONES) & !different & (ONES << 7);
    }
    if any == 0 && !eights.remainder().contains(&b'{') {
        return None;
    }
    key.iter().position(|&byte| byte == b'{')
}

/// The shard of a slot, of so many.
#[inline]
pub fn shard_of(slot: u16, shards: usize) -> usize {
    (usize::from(slot) * shards) >> SLOT_BITS
}

/// The slots of a shard, of so many: those for which `shard_of` names it.
pub fn slots_of(shard: usize, shards: usize) -> Range<u16> {
    let first = |shard: usize| (shard << SLOT_BITS).div_ceil(shards) as u16;
    first(shard)..first(shard + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bitwise(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(
                crc ^ u16::from(*byte) << 8,
                |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ POLYNOMIAL } else { crc << 1 },
            )
        })
    }

    #[test]
    fn known_values() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"somekey"), 11058);
        assert_eq!(slot(b"foo{hash_tag}"), 2515);
    }

    #[test]
    fn tags() {
        assert_eq!(hashed_part(b"{user1000}.following"), b"user1000");
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(hashed_part(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hashed_part(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hashed_part(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hashed_part(b"}foo{bar"), b"}foo{bar");
        assert_eq!(hashed_part(b"0123456789abcdef{tag}0123456789"), b"tag");
    }

    #[test]
    fn every_slot_has_one_shard() {
        for shards in (1..=130).chain([1000, 16384]) {
            let mut next = 0;
            for shard in 0..shards {
                let range = slots_of(shard, shards);
                assert_eq!(range.start, next);
                assert!(!range.is_empty());
                for slot in range.clone() {
                    assert_eq!(shard_of(slot, shards), shard);
                }
                next = range.end;
            }
            assert_eq!(next, SLOTS);
        }
    }

    proptest! {
        #[test]
        fn fast_is_right(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(crc16(&bytes), bitwise(&bytes));
        }

        #[test]
        fn brace_is_found(bytes in "[a-z{|z\u{80}]{0,40}") {
            prop_assert_eq!(find_brace(bytes.as_bytes()), bytes.bytes().position(|b| b == b'{'));
        }
    }
}
