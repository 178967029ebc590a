//! Device memory as paging sees it: room, writes, reads, and copies between it and lent memory.

/// A stretch of lent bytes and the stretch of device memory that holds its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The host address.
    pub(crate) home: u64,
    /// The device address.
    pub(crate) device: u64,
    /// The length of both.
    pub(crate) bytes: u64,
}

impl Span {
    /// The bytes of all spans together.
    pub(crate) fn sum(spans: &[Self]) -> u64 {
        spans.iter().map(|span| span.bytes).sum()
    }
}

/// Device memory, and copies between it and lent memory.
pub(crate) trait Memory {
    /// Why the device failed. Nothing is certain about its memory then.
    type Error;

    /// Finds room for whole pages, on a page boundary.
    fn allocate(&mut self, bytes: u64) -> Result<u64, Self::Error>;

    /// Copies lent bytes to the device.
    fn copy_in(&mut self, spans: &[Span]) -> Result<(), Self::Error>;

    /// Copies bytes of the device to the lent bytes.
    fn copy_home(&mut self, spans: &[Span]) -> Result<(), Self::Error>;

    /// Reads lent bytes at home.
    fn read_home(&mut self, home: u64, bytes: &mut [u8]);

    /// Writes device memory.
    fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The bytes of whole pages of device memory, one behind the other.
    fn read_pages(&mut self, pages: &[u64]) -> Result<Vec<u8>, Self::Error>;
}
