//! The process that compiles for one target.
//!
//! # Safety
//!
//! The kernels are those that farptr ships, which its tests validate in every form.
#![allow(unsafe_code, reason = "the compiler trusts the words that it gets")]

use super::form::{FORMS, Form};
use crate::failure::Failure;
use farptr::rewrite::{Program, Reflection};
use farptr_radv::{Compiler, Statistics};
use serde::{Deserialize, Serialize};

/// Kernels that no user launches: the start-up tests of farptr's, and the empty one.
const LEFT_OUT: [&str; 4] = ["empty", "endless", "offsets", "probe"];

/// What was compiled, and by whom.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Compiled {
    pub(super) device: String,
    pub(super) driver: String,
    /// The forms of each kernel, the original first.
    pub(super) kernels: Vec<Vec<Statistics>>,
}

/// The kernels that are compiled.
pub(super) fn kernels() -> impl Iterator<Item = (&'static str, &'static [u32])> {
    farptr::shaders::all().into_iter().filter(|(name, _)| !LEFT_OUT.contains(name))
}

/// Compiles every form of every kernel for the device that the environment asks for.
pub(super) fn compile() -> Result<Compiled, Failure> {
    let mut compiler = Compiler::open(false)?;
    let kernels = kernels().map(|(name, words)| forms(&mut compiler, name, words));
    let kernels = kernels.collect::<Result<_, _>>()?;
    let (device, driver) = (compiler.device_name().to_owned(), compiler.driver().to_owned());
    Ok(Compiled { device, driver, kernels })
}

fn forms(
    compiler: &mut Compiler,
    name: &str,
    original: &[u32],
) -> Result<Vec<Statistics>, Failure> {
    let refused = |form: &Form, source| Failure::Form { what: what(name, form), source };
    let program = Program::parse(original, None).map_err(|source| refused(&FORMS[0], source))?;
    let forms = FORMS.iter().map(|form| {
        let words = form.words(original, &program).map_err(|source| refused(form, source))?;
        let declared = Reflection::of(&words)?;
        if let Some(capability) = compiler.lacks(&declared) {
            return Err(Failure::Lacks { what: what(name, form), capability });
        }
        // SAFETY: 1. a form of a shipped kernel is valid, and was compared with the device; no
        // shipped kernel has more than 128 bytes of push constants; 2. none binds anything, so a
        // form binds its control block alone.
        let made = unsafe { compiler.compile(&words, &declared, form.is_controlled()) };
        made.map_err(|source| Failure::Compile { what: what(name, form), source })
    });
    forms.collect()
}

fn what(kernel: &str, form: &Form) -> String {
    format!("{kernel} as {}", form.name)
}
