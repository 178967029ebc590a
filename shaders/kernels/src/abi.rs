//! Numbers and structures that the host and these kernels share; the kernels' side is `glsl/`.

use bytemuck::{Pod, Zeroable};

pub use farptr_rewrite::LOOP_WINDOW;

/// Elements that one invocation of the `dot` kernel adds up.
pub const DOT_ELEMENTS_PER_INVOCATION: u32 = 64;

/// Elements behind one partial sum of the `dot` kernel: one workgroup of 64 invocations.
pub const DOT_ELEMENTS_PER_PARTIAL: u32 = 64 * DOT_ELEMENTS_PER_INVOCATION;

/// The [`Node::level`] of a node that no search has reached.
pub const UNREACHED: u32 = u32::MAX;

/// A graph's vertex, linked to its neighbours by host addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Node {
    /// The host address of an array of [`degree`](Self::degree) host addresses of nodes.
    pub neighbours: u64,
    /// The number of neighbours.
    pub degree: u32,
    /// The distance from the start of a breadth-first search, in edges, or [`UNREACHED`].
    pub level: u32,
    /// How often random walks arrived here, modulo 2^32.
    pub visits: u32,
    /// The vertex number.
    pub id: u32,
}

/// A random walker between two launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Walker {
    /// The host address of the [`Node`] at which the walker stands.
    pub node: u64,
    /// The state of its random number generator.
    pub random: u32,
    /// Fills the structure to a multiple of its alignment; kernels keep it.
    pub unused: u32,
}

/// Four elements that kernels read and write at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C, align(16))]
pub struct F32x4(pub [f32; 4]);

/// A link of the chains that the kernels `probe` and `chase` follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Link {
    /// The host address of the next link, or 0.
    pub next: u64,
    /// A word that the kernel mixes into its result.
    pub payload: u32,
    /// Fills the structure to a multiple of its alignment.
    pub unused: u32,
}

// glsl/include/node.glsl and the kernels walk, probe, chase and saxpy4 rely on these.
const _: () = assert!(size_of::<Node>() == 24 && align_of::<Node>() == 8);
const _: () = assert!(size_of::<Walker>() == 16 && align_of::<Walker>() == 8);
const _: () = assert!(size_of::<Link>() == 16 && align_of::<Link>() == 8);
const _: () = assert!(size_of::<F32x4>() == 16 && align_of::<F32x4>() == 16);
