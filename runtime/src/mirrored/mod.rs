//! Mirrored access with copies: which pages the device has, and the rounds that bring them there.
//!
//! `DESIGN.md` has the protocol. Nothing here calls Vulkan or touches lent memory; what does is
//! behind the traits [`rounds::Memory`], [`rounds::Run`] and [`door::Host`].
#![allow(clippy::cast_possible_truncation, reason = "hosts are 64-bit: `farptr_hmm` sees to it")]

pub(crate) mod areas;
pub(crate) mod door;
pub(crate) mod pages;
mod prefetch;
pub(crate) mod rounds;
pub(crate) mod shared;
#[cfg(test)]
pub(crate) mod soft;
pub(crate) mod table;

pub(crate) use farptr_shaders::rewrite::control::PAGE_BYTES;
