//! Structures of yours, and pointers between them.
//!
//! A kernel and a program agree on a structure if each field lies at the same byte in both. Write
//! it once in GLSL and once in Rust, as `#[repr(C)]`. The macro compares the two when the crate is
//! compiled: sizes, alignments, and the offset, the size and the kind of number of each field.
//!
//! # Lending a structure
//!
//! What may be lent is decided by two traits, each with a derive:
//!
//! * [`Lendable`](crate::Lendable), for reading: no padding, and nothing that changes behind `&`.
//! * [`LendableMut`](crate::LendableMut), for writing: any bytes are a value, since a kernel may
//!   leave any.
//!
//! Numbers and all other [`bytemuck::Pod`] types have both. So have raw pointers. References can
//! only be read: a kernel that wrote one could make a reference to nothing.
//!
//! # A list with real pointers
//!
//! The nodes of this list hold references to each other, as Rust has them. The kernel follows them:
//!
//! ```
//! farptr::kernel! {
//!     mod total,
//!     source: r#"
//!         #version 460
//!         #extension GL_EXT_buffer_reference_uvec2 : require
//!         layout(local_size_x = 1) in;
//!         layout(buffer_reference, buffer_reference_align = 8) buffer Node {
//!             uvec2 next;
//!             uint value;
//!             uint unused;
//!         };
//!         layout(buffer_reference, buffer_reference_align = 4) buffer Sum { uint sum; };
//!         layout(push_constant) uniform Push { uvec2 first; uvec2 sum; };
//!
//!         void main() {
//!             uint total = 0;
//!             uvec2 node = first;
//!             while (node != uvec2(0)) { // null
//!                 total += Node(node).value;
//!                 node = Node(node).next;
//!             }
//!             Sum(sum).sum = total;
//!         }
//!     "#,
//!     args: { first: Option<Node<'_>> }, // may be null
//! }
//!
//! #[repr(C)]
//! #[derive(farptr::Lendable)]
//! struct Node<'n> {
//!     next: Option<&'n Node<'n>>,
//!     value: u32,
//!     unused: u32, // in place of padding, whose bytes Rust does not define
//! }
//!
//! fn main() -> Result<(), farptr::Error> {
//!     let runtime = farptr::Runtime::builder().build()?;
//!     let kernel = runtime.kernel::<total::Kernel>()?;
//!
//!     let last = Node { next: None, value: 1, unused: 0 };
//!     let middle = Node { next: Some(&last), value: 20, unused: 0 };
//!     let first = Node { next: Some(&middle), value: 300, unused: 0 };
//!
//!     let mut sum = 0;
//!     runtime.scope(|s| {
//!         let list = s.lend_value(&first)?;
//!         s.lend_value(&middle)?; // the nodes that the kernel comes to are lent, too
//!         s.lend_value(&last)?;
//!         let sum = s.lend_value_mut(&mut sum)?;
//!         let args = total::Args { first: Some(list.ptr()), sum: sum.ptr() };
//!         s.launch(&kernel, farptr::Grid::cover(1), args)?;
//!         Ok(())
//!     })?;
//!     assert_eq!(sum, 321);
//!     Ok(())
//! }
//! ```
//!
//! A pointer that leads out of what was lent is an error of the launch, and not a crash. Nodes that
//! lie together, in one `Vec` say, are lent by one call, which is also faster: a kernel searches
//! the lends for each pointer that it loads.
//!
//! A structure with raw pointers instead of references can be lent for writing, and kernels may
//! link it anew. Rust then takes `unsafe` to follow a pointer, because a kernel chose it. Often an
//! index says the same, and needs none.
//!
//! # Parts of a lend
//!
//! [`slice`](crate::LentMut::slice), [`split_at`](crate::LentMut::split_at) and
//! [`at`](crate::LentMut::at) give the address of a part: of the second half, or of one element.
//! They are addresses only. A kernel that is given the second half may still reach the first one,
//! since it was lent.
//!
//! # What does not fit
//!
//! | in Rust | what to do |
//! |---|---|
//! | padding between fields | add fields for it; the derive says how many bytes |
//! | `bool`, an enum, `char` | lend for reading, or hold a `u32` |
//! | `Vec`, `Box`, `String`, `&[T]` | lend the contents, and hold a raw pointer and a length |
//! | `AtomicU32` | lend with `lend_mut`: then nobody else has it |
//! | a union | a `#[repr(C)]` structure of numbers |
//! | a `vec3` in GLSL | `[f32; 3]` and one `f32` more, or `scalar` layout in GLSL |
