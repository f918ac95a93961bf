//! Short codes one after the other, gathered in a register.

use super::BitWriter;

/// Gathers codes and writes several of them at once.
#[derive(Debug)]
pub(crate) struct Run<'w> {
    writer: &'w mut BitWriter,
    bits: u64,
    len: u32,
}

impl<'w> Run<'w> {
    #[inline(always)]
    pub(crate) const fn new(writer: &'w mut BitWriter) -> Self {
        Self {
            writer,
            bits: 0,
            len: 0,
        }
    }

    /// Writes a code: its bits, and how many they are, 1 to 63.
    #[inline(always)]
    pub(crate) fn put(&mut self, (bits, len): (u64, u32)) {
        if self.len + len > 63 {
            self.writer.put(self.bits, self.len);
            (self.bits, self.len) = (0, 0);
        }
        self.bits |= bits << self.len;
        self.len += len;
    }

    /// The writer goes on behind all of them.
    #[inline(always)]
    pub(crate) fn finish(self) {
        self.writer.put(self.bits, self.len);
    }
}
