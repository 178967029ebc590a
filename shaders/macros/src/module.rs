//! The words of a kernel, and what they say about it.

use crate::input::{Input, Source};
use crate::place;
use farptr_rewrite::{Analysis, Arguments, Program, Reflection};
use proc_macro2::Span;
use std::path::PathBuf;
use syn::{Error, LitInt, LitStr, Result};

/// A kernel that was read.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) words: Vec<u32>,
    /// The files that it was made from.
    pub(crate) files: Vec<PathBuf>,
    /// Its origin, in words.
    pub(crate) origin: String,
    pub(crate) reflection: Reflection,
    pub(crate) arguments: Arguments,
    pub(crate) analysis: Analysis,
}

impl Module {
    /// Gets the words that the user names, and reads them.
    pub(crate) fn read(input: &Input) -> Result<Self> {
        let span = input.kernel.span();
        match &input.kernel {
            Source::Path(path) => {
                let text = String::from_utf8(place::read(path)?)
                    .map_err(|_| Error::new(path.span(), "the file is no text in UTF-8"))?;
                let file = place::resolve(path);
                let (words, mut files) = compile(input, &text, &path.value(), Some(&file), span)?;
                files.insert(0, file);
                Self::of(words, files, format!("`{}`", path.value()), input)
            }
            Source::Text(text) => {
                let (lines, name) = place::line(span)
                    .map_or((0, "source".to_owned()), |(file, line)| (line - 1, file));
                // The compiler's lines are then those of the file that the GLSL stands in.
                let text = "\n".repeat(lines) + &text.value();
                let (words, files) = compile(input, &text, &name, None, span)?;
                Self::of(words, files, "GLSL beside the declaration".to_owned(), input)
            }
            Source::Spirv(path, _) => {
                let words = words_of(&place::read(path)?, path)?;
                let files = vec![place::resolve(path)];
                Self::of(words, files, format!("`{}`", path.value()), input)
            }
            Source::Words(words, _) => {
                let words = words.iter().map(LitInt::base10_parse).collect::<Result<_>>()?;
                Self::of(words, Vec::new(), "SPIR-V beside the declaration".to_owned(), input)
            }
        }
    }

    fn of(words: Vec<u32>, files: Vec<PathBuf>, origin: String, input: &Input) -> Result<Self> {
        let span = input.entry.as_ref().map_or(input.kernel.span(), LitStr::span);
        let refuse = |why: &dyn std::fmt::Display| Error::new(span, why.to_string());
        let entry = input.entry.as_ref().map(LitStr::value);
        let entry = entry.as_deref();
        let reflection = Reflection::of_entry(&words, entry).map_err(|why| refuse(&why))?;
        if reflection.descriptors > 0 {
            let text = format!(
                "the kernel binds {} buffers or images; farptr's kernels reach memory by address \
                 alone: pass addresses in push constants",
                reflection.descriptors
            );
            return Err(Error::new(span, text));
        }
        let arguments = Arguments::of(&words, entry).map_err(|why| refuse(&why))?;
        let program = Program::parse(&words, entry).map_err(|why| refuse(&why))?;
        let analysis = program.analysis().clone();
        Ok(Self { words, files, origin, reflection, arguments, analysis })
    }
}

/// The words of a SPIR-V file, in the byte order that its first word has.
fn words_of(bytes: &[u8], path: &LitStr) -> Result<Vec<u32>> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let text = format!("{} bytes are no SPIR-V words of four bytes", bytes.len());
        return Err(Error::new(path.span(), text));
    }
    let little: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let is_swapped = little.first().is_some_and(|first| first.swap_bytes() == MAGIC);
    Ok(if is_swapped { little.into_iter().map(u32::swap_bytes).collect() } else { little })
}

/// The first word of a module (SPIR-V specification, section 3.1).
const MAGIC: u32 = 0x0723_0203;

#[cfg(feature = "glsl")]
fn compile(
    input: &Input,
    text: &str,
    name: &str,
    file: Option<&std::path::Path>,
    span: Span,
) -> Result<(Vec<u32>, Vec<PathBuf>)> {
    let folder = file.and_then(std::path::Path::parent);
    let (include, define) = (&*input.include, &*input.define);
    let glsl = crate::glsl::Glsl { text, name, folder, include, define };
    crate::glsl::compile(&glsl).map_err(|text| {
        Error::new(span, format!("the GLSL does not compile:\n{}", text.trim_end()))
    })
}

#[cfg(not(feature = "glsl"))]
fn compile(
    _: &Input,
    _: &str,
    _: &str,
    _: Option<&std::path::Path>,
    span: Span,
) -> Result<(Vec<u32>, Vec<PathBuf>)> {
    let text = "GLSL needs the feature `glsl` of farptr, which brings a compiler: \
                `cargo add farptr --features glsl`; or compile it yourself and use `unsafe spv`";
    Err(Error::new(span, text))
}
