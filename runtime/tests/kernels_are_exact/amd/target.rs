//! A process that compiles for one family of GPUs.
//!
//! It reads modules from its standard input, and writes the name of each to its standard output
//! before the driver sees it, so that the last name is that of the module on which a driver
//! crashed.
//!
//! # Safety
//!
//! The words are those of a compiler, the assembler or a generator of this suite, and what the pass
//! made of them.

use crate::common::skip;
use farptr::rewrite::Reflection;
use farptr_radv::{Compiler, NoDriver, OpenError, Target};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Set in the process that compiles: whether the validation layer looks on.
const INSIDE: &str = "FARPTR_AMD_INSIDE";

/// A module that is given to the process.
pub(super) struct Module {
    pub(super) name: String,
    /// Whether it has a control block.
    pub(super) controlled: bool,
    pub(super) words: Vec<u32>,
}

impl Module {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = [u32::from(self.controlled), self.name.len() as u32, self.words.len() as u32];
        to.write_all(bytemuck::cast_slice(&head))?;
        to.write_all(self.name.as_bytes())?;
        to.write_all(bytemuck::cast_slice(&self.words))
    }

    /// The next module, or nothing at the end.
    fn read(from: &mut impl Read) -> Option<Self> {
        let mut head = [0u32; 3];
        from.read_exact(bytemuck::cast_slice_mut(&mut head)).ok()?;
        let [controlled, name_len, words_len] = head;
        let (mut name, mut words) = (vec![0; name_len as usize], vec![0; words_len as usize]);
        from.read_exact(&mut name).unwrap();
        from.read_exact(bytemuck::cast_slice_mut(&mut words)).unwrap();
        Some(Self { name: String::from_utf8(name).unwrap(), controlled: controlled != 0, words })
    }
}

/// The process, as the one that makes modules sees it.
pub(super) struct Compiling {
    name: String,
    process: Child,
    /// None when the process has ended before its time.
    modules: Option<BufWriter<ChildStdin>>,
    output: File,
}

impl Compiling {
    pub(super) fn start(target: Target, validation: bool) -> Result<Self, NoDriver> {
        let output = tempfile::tempfile().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["amd::every_form_compiles", "--exact", "--ignored", "--nocapture"]);
        process.env(INSIDE, if validation { "validation" } else { "" });
        process.stdin(Stdio::piped()).stdout(output.try_clone().unwrap());
        let mut process = target.apply(&mut process)?.spawn().unwrap();
        let modules = process.stdin.take().map(BufWriter::new);
        let name = format!("{target}{}", if validation { ", validated" } else { "" });
        Ok(Self { name, process, modules, output })
    }

    /// Gives it a module. Where it has ended, [`finish`](Self::finish) will say why.
    pub(super) fn give(&mut self, module: &Module) {
        if let Some(modules) = &mut self.modules
            && module.write(modules).is_err()
        {
            self.modules = None;
        }
    }

    /// Waits until it has compiled everything. Returns its last line.
    pub(super) fn finish(mut self) -> String {
        drop(self.modules.take());
        let ended = self.process.wait().unwrap();
        let mut said = String::new();
        self.output.rewind().unwrap();
        self.output.read_to_string(&mut said).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        assert!(ended.success(), "{}: {ended}; see above and after\n{tail}", self.name);
        // The layer's messages have the numbers of the rules that they are about.
        let objection = lines.iter().position(|line| line.contains("VUID-"));
        if let Some(at) = objection {
            panic!("{}: {}", self.name, lines[at.saturating_sub(2)..=at].join("\n"));
        }
        let count = lines.iter().find(|line| line.starts_with("compiled "));
        format!("{}: {}", self.name, count.expect("the process counts"))
    }
}

/// In the process that compiles: whether the validation layer looks on.
pub(super) fn is_inside() -> Option<bool> {
    std::env::var(INSIDE).ok().map(|value| value == "validation")
}

/// Compiles each module of the standard input.
pub(super) fn compile_all(validation: bool) {
    let mut from = BufReader::new(io::stdin().lock());
    let mut compiler = match Compiler::open(validation) {
        Ok(compiler) => compiler,
        Err(missing @ OpenError::NoValidation) => {
            skip(&missing.to_string());
            let _ = io::copy(&mut from, &mut io::sink());
            return println!("compiled nothing: {missing}");
        }
        Err(error) => panic!("{error:?}"),
    };
    let mut compiled = 0;
    while let Some(module) = Module::read(&mut from) {
        println!("{}", module.name);
        let declared = Reflection::of(&module.words).unwrap();
        assert!(declared.push_bytes <= 128, "{}: too many push constants", module.name);
        let lacking = compiler.lacks(&declared);
        assert!(lacking.is_none(), "{}: the device lacks {lacking:?}", module.name);
        // SAFETY: 1. the words are as this module's documentation says, and were compared with the
        // device; 2. a form has no binding but that of its control block.
        let made = unsafe { compiler.compile(&module.words, &declared, module.controlled) };
        let found = made.unwrap_or_else(|error| panic!("{}: {error:?}", module.name));
        assert!(found.code_bytes > 0, "{}: {found:?}", module.name);
        compiled += 1;
    }
    assert!(compiled > 0, "no module was compiled");
    let (name, driver) = (compiler.device_name(), compiler.driver());
    println!("compiled {compiled} modules: {name}, {driver}");
}
