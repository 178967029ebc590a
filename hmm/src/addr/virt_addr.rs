//! Virtual addresses.

use std::fmt;
use std::ptr;

use bytemuck::{Pod, Zeroable};

use super::page::{PageNumber, PageSize};

/// A virtual address of the host process.
///
/// It is a plain number: it keeps nothing alive and says nothing about whether the address is
/// mapped. It has the size and layout of a `u64`, so it can be handed to a kernel as data.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{PageSize, VirtAddr};
///
/// let numbers = vec![1.0f32; 1000];
/// let first = VirtAddr::of_slice(&numbers);
/// let second = VirtAddr::of(&numbers[1]);
/// assert_eq!(second.offset_from(first), Some(4));
/// assert!(first.align_down(PageSize::KIB_4) <= first);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// The address zero, which Linux never maps for an ordinary process.
    pub const NULL: Self = Self(0);

    /// Makes an address from its number.
    #[must_use]
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// Returns the address as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Tells whether this is [`VirtAddr::NULL`].
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Returns the address of `value` and exposes the provenance of the reference.
    ///
    /// Exposing tells the compiler that memory may be reached through the number later on, which
    /// is what a kernel does. For the elements of a `Vec` use [`VirtAddr::of_slice`]: the address
    /// of the `Vec` itself is that of its header.
    #[must_use]
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self::from_ptr(ptr::from_ref(value))
    }

    /// Returns the address of `value` and exposes it for writing too.
    #[must_use]
    pub fn of_mut<T: ?Sized>(value: &mut T) -> Self {
        Self::from_ptr(ptr::from_mut(value).cast_const())
    }

    /// Returns the address of the first element of `slice` and exposes the whole slice.
    #[must_use]
    pub fn of_slice<T>(slice: &[T]) -> Self {
        Self::of(slice)
    }

    /// Returns the address of the first element of `slice` and exposes it for writing too.
    #[must_use]
    pub fn of_slice_mut<T>(slice: &mut [T]) -> Self {
        Self::of_mut(slice)
    }

    /// Returns the address that `pointer` holds and exposes its provenance.
    #[must_use]
    pub fn from_ptr<T: ?Sized>(pointer: *const T) -> Self {
        Self(pointer.expose_provenance() as u64)
    }

    /// Returns a pointer with this address and whatever provenance was exposed for it.
    #[must_use]
    pub fn as_ptr<T>(self) -> *const T {
        ptr::with_exposed_provenance(self.to_usize())
    }

    /// Returns a mutable pointer with this address and whatever provenance was exposed for it.
    #[must_use]
    pub fn as_mut_ptr<T>(self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.to_usize())
    }

    /// Returns the address `bytes` further up, or `None` past the end of the address space.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// Returns the address `bytes` further down, or `None` below address zero.
    #[must_use]
    pub fn checked_sub(self, bytes: u64) -> Option<Self> {
        self.0.checked_sub(bytes).map(Self)
    }

    /// Returns how many bytes lie between `base` and this address, or `None` if `base` is above.
    #[must_use]
    pub fn offset_from(self, base: Self) -> Option<u64> {
        self.0.checked_sub(base.0)
    }

    /// Returns the start of the page that contains this address.
    #[must_use]
    pub const fn align_down(self, size: PageSize) -> Self {
        Self(self.0 & !size.mask())
    }

    /// Returns the first page boundary that is not below this address, or `None` if there is none.
    #[must_use]
    pub fn align_up(self, size: PageSize) -> Option<Self> {
        Some(self.checked_add(size.mask())?.align_down(size))
    }

    /// Tells whether this address is a page boundary.
    #[must_use]
    pub const fn is_aligned(self, size: PageSize) -> bool {
        self.page_offset(size) == 0
    }

    /// Returns how many bytes this address lies past the start of its page.
    #[must_use]
    pub const fn page_offset(self, size: PageSize) -> u64 {
        self.0 & size.mask()
    }

    /// Returns the number of the page that contains this address, counted from address zero.
    #[must_use]
    pub const fn page_number(self, size: PageSize) -> PageNumber {
        PageNumber::new(self.0 >> size.log2())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the crate builds for 64 bits only")]
    const fn to_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl PageNumber {
    /// Returns the first address of the page, or `None` if it is past the end of the address space.
    #[must_use]
    pub fn start(self, size: PageSize) -> Option<VirtAddr> {
        self.get().checked_mul(size.bytes()).map(VirtAddr::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_prints_as_hex() {
        let addr = VirtAddr::new(0x7f00_1000);
        assert_eq!(format!("{addr} {addr:?}"), "0x7f001000 0x7f001000");
        assert_eq!(VirtAddr::NULL.to_string(), "0x0");
    }

    #[test]
    fn an_address_is_a_u64_to_a_kernel() {
        let addrs = [VirtAddr::new(1), VirtAddr::new(2)];
        let words: &[u64] = bytemuck::cast_slice(&addrs);
        assert_eq!(words, [1, 2]);
    }

    #[test]
    fn the_address_of_a_slice_is_that_of_its_first_element() {
        let mut numbers = vec![1u32, 2, 3];
        let shared = VirtAddr::of_slice(&numbers);
        assert_eq!(shared, VirtAddr::of(&numbers[0]));
        assert_ne!(shared, VirtAddr::of(&numbers));
        assert_eq!(shared, VirtAddr::of_slice_mut(&mut numbers));
        assert_eq!(shared.as_ptr::<u32>(), numbers.as_ptr());
        assert_eq!(shared.as_mut_ptr::<u32>(), numbers.as_mut_ptr());
    }

    #[test]
    fn arithmetic_stops_at_both_ends_of_the_address_space() {
        let top = VirtAddr::new(u64::MAX);
        assert_eq!(top.checked_add(1), None);
        assert_eq!(VirtAddr::NULL.checked_sub(1), None);
        assert_eq!(top.align_up(PageSize::KIB_4), None);
        assert_eq!(VirtAddr::NULL.align_up(PageSize::GIB_1), Some(VirtAddr::NULL));
        assert_eq!(VirtAddr::NULL.offset_from(top), None);
    }

    fn page_size() -> impl Strategy<Value = PageSize> {
        prop::sample::select(vec![PageSize::KIB_4, PageSize::MIB_2, PageSize::GIB_1])
    }

    proptest! {
        #[test]
        fn an_address_is_its_page_plus_its_offset(raw: u64, size in page_size()) {
            let addr = VirtAddr::new(raw);
            let down = addr.align_down(size);
            prop_assert!(down.is_aligned(size));
            prop_assert!(addr.page_offset(size) < size.bytes());
            prop_assert_eq!(down.checked_add(addr.page_offset(size)), Some(addr));
            prop_assert_eq!(addr.page_number(size).start(size), Some(down));
        }

        #[test]
        fn rounding_up_is_the_nearest_boundary_above(raw: u64, size in page_size()) {
            let addr = VirtAddr::new(raw);
            if let Some(up) = addr.align_up(size) {
                prop_assert!(up.is_aligned(size));
                prop_assert!(up.offset_from(addr).unwrap() < size.bytes());
            } else {
                prop_assert!(raw > u64::MAX - size.bytes() + 1);
            }
        }

        #[test]
        fn adding_and_subtracting_are_inverse(raw: u64, bytes: u64) {
            let addr = VirtAddr::new(raw);
            if let Some(sum) = addr.checked_add(bytes) {
                prop_assert_eq!(sum.offset_from(addr), Some(bytes));
                prop_assert_eq!(sum.checked_sub(bytes), Some(addr));
            }
        }
    }
}
