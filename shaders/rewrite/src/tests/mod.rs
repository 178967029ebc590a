//! Tests of the pass on whole modules.

mod arguments;
mod assembly;
mod bases;
mod entries;
mod forms;
mod glsl;
mod grids;
mod joints;
mod literals;
mod machine;
mod mutations;
mod narrow;
mod oracle;
mod proved;
mod refusals;
pub(crate) mod run;
mod shipped;
mod size;
mod specialize;
pub(crate) mod tools;

// Where `forms` finds the variants.
use crate as rewrite;
