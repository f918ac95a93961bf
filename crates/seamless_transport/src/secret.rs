//! Randomness for what nobody may guess.

/// 16 bytes that nobody can guess, from the operating system.
#[must_use]
pub fn secret() -> [u8; 16] {
    renetcode::generate_random_bytes()
}
