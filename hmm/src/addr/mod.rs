//! Addresses, pages and ranges of a host address space: one type per unit, checked arithmetic.

#![forbid(unsafe_code)]

mod page;
pub(crate) mod pages;
mod va_range;
mod virt_addr;

pub use page::{PageCount, PageNumber, PageSize};
pub use va_range::VaRange;
pub use virt_addr::VirtAddr;
