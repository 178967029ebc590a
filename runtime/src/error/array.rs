//! Memory that an array cannot have.

use farptr_hmm::MapError;

/// Why no [`Array`](crate::Array) could be made.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The bytes of so many elements cannot be numbered.
    #[error(
        "an array of {len} elements of {element_bytes} bytes is longer than any memory; make it \
         shorter"
    )]
    TooLong {
        /// The number of elements.
        len: usize,
        /// The size of one.
        element_bytes: usize,
    },
    /// The system refused the memory.
    #[error("there is no memory for an array of {len} elements of {element_bytes} bytes")]
    NoMemory {
        /// The number of elements.
        len: usize,
        /// The size of one.
        element_bytes: usize,
        /// The refusal, and the limits that may be behind it.
        #[source]
        source: MapError,
    },
}
