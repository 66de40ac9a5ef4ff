//! The checksum at the end of DUMP payloads and RDB files: CRC-64 with the Jones polynomial, reflected, zero initial value.

use crc_fast::{CrcAlgorithm, Digest, checksum};

/// The checksum of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Redis, bytes)
}

/// The checksum of bytes that come piece by piece.
pub struct Crc64(Digest);

impl Crc64 {
    pub fn new() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bit by bit.
    fn reference(bytes: &[u8]) -> u64 {
        const REFLECTED_POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(
                crc ^ u64::from(*byte),
                |crc, _| {
                    if crc & 1 == 1 { crc >> 1 ^ REFLECTED_POLYNOMIAL } else { crc >> 1 }
                },
            )
        })
    }

    #[test]
    fn has_redis_s_check_value() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        let bytes: Vec<u8> = (0..1500u32).map(|i| ((i * i) >> 3) as u8).collect();
        for len in (0..300).chain([511, 512, 513, 1023, 1024, 1499]) {
            let bytes = &bytes[..len];
            let mut pieces = Crc64::new();
            bytes.chunks(7).for_each(|piece| pieces.update(piece));
            assert_eq!((crc64(bytes), pieces.finish()), (reference(bytes), reference(bytes)), "{len} bytes");
        }
    }
}
