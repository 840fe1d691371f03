//! A body buffer in blocks: a single growing buffer would need twice its size at each reallocation.

const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes received so far.
#[derive(Debug, Default)]
pub(super) struct BlockBuffer {
    blocks: Vec<Vec<u8>>,
    count: usize,
}

impl BlockBuffer {
    /// Returns the number of bytes.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Appends `bytes`.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.count += bytes.len();
        while !bytes.is_empty() {
            let room = self.blocks.last().map_or(0, |block| BLOCK_BYTES - block.len());
            if room == 0 {
                self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.blocks.last_mut().into_iter().for_each(|block| block.extend_from_slice(now));
            bytes = later;
        }
    }

    /// Joins all blocks.
    pub(super) fn whole(mut self) -> Vec<u8> {
        if self.blocks.len() == 1 {
            return self.blocks.pop().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.count);
        // Each block is freed as soon as it is copied.
        self.blocks.into_iter().for_each(|block| whole.extend_from_slice(&block));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_buffer_joins_chunks_of_any_size() {
        let all: Vec<u8> = (0..3 * BLOCK_BYTES + 7).map(|at| (at % 251) as u8).collect();
        for size in [1_000, BLOCK_BYTES, BLOCK_BYTES + 1, all.len()] {
            let mut buffer = BlockBuffer::default();
            all.chunks(size).for_each(|part| buffer.add(part));
            assert_eq!(buffer.count(), all.len());
            assert!(buffer.blocks.iter().all(|block| block.capacity() == BLOCK_BYTES), "{size}");
            assert!(buffer.whole() == all, "{size}");
        }
        assert!(BlockBuffer::default().whole().is_empty());
    }
}
