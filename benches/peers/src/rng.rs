//! Chance from a seed.

/// A small generator (xorshift*). Two generators of one seed and one stream say the same.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of a seed for one purpose.
    pub(crate) const fn new(seed: u64, stream: u64) -> Self {
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15)
            .wrapping_add(stream.wrapping_mul(0xd134_2543_de82_ef95))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        // Zero would stay zero.
        Self((mixed ^ (mixed >> 29)) | 1)
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Evenly from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Evenly from `low` to below `high`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A number below `n`, which is not 0.
    pub(crate) const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
