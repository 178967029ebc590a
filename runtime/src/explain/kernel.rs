//! The facts about a kernel that the rewriting pass found, in words.

use crate::{Kernel, RawKernel, kernel::code::Code, paging::plan::Replay};
use farptr_rewrite::{
    Analysis, Check, Effects, KernelDesc, KernelFootprint, RewriteError, Root, SpecConstant,
};
use std::{
    collections::HashSet,
    fmt,
    iter::{once, repeat},
};

/// The facts about a kernel: what every launch of it touches (`reads x[0..n]`), its accesses, how
/// each is checked, and how a launch in rounds undoes a round with faults. Printable, one fact per
/// line.
///
/// [`Kernel::explain`](crate::Kernel::explain) and
/// [`RawKernel::explain`](crate::RawKernel::explain) give one. The wording may change; use the
/// methods for anything that a program decides on.
#[derive(Clone, Debug)]
pub struct KernelExplanation {
    name: &'static str,
    constants: Vec<SpecConstant>,
    found: Result<Found, RewriteError>,
}

/// The facts about a kernel that can be rewritten.
#[derive(Clone, Debug)]
struct Found {
    analysis: Analysis,
    footprint: KernelFootprint,
    /// The driver cuts loops short, so that they are counted.
    guarded: bool,
}

impl<K: KernelDesc> Kernel<K> {
    /// Lists the kernel's accesses, and says how launches in rounds undo faults.
    #[must_use]
    pub fn explain(&self) -> KernelExplanation {
        KernelExplanation::of(K::NAME, self.code())
    }
}

impl RawKernel {
    /// Lists the kernel's accesses, and says how launches in rounds undo faults.
    #[must_use]
    pub fn explain(&self) -> KernelExplanation {
        KernelExplanation::of(self.name(), self.code())
    }
}

impl KernelExplanation {
    fn of(name: &'static str, code: &Code) -> Self {
        let guarded = code.device().traits().cuts_loops;
        let both = code.analysis().and_then(|of| Ok((of, code.words_of_all_launches()?)));
        let found = both.map(|(analysis, footprint)| {
            let analysis = analysis.clone();
            Found { analysis, footprint, guarded }
        });
        let found = found.map_err(Clone::clone);
        Self { name, constants: code.reflection.constants.clone(), found }
    }

    /// The specialisation constants with the values that this kernel has for them
    /// ([`SpecConstant::default`]), by their numbers.
    #[must_use]
    pub fn constants(&self) -> &[SpecConstant] {
        &self.constants
    }

    /// Why the kernel cannot be rewritten, so that only unchecked launches run it.
    #[must_use]
    pub fn refusal(&self) -> Option<&RewriteError> {
        self.found.as_ref().err()
    }

    /// Every access, loop and effect of the kernel, unless it was refused.
    #[must_use]
    pub fn analysis(&self) -> Option<&Analysis> {
        self.found.as_ref().ok().map(|found| &found.analysis)
    }

    /// What every launch of the kernel touches, in terms of its arguments, and what in its source
    /// keeps launches from being proved, unless the kernel was refused.
    ///
    /// [`Scope::explain_launch`](crate::Scope::explain_launch) says what is known of one launch,
    /// which may be more.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr::{Runtime, shaders::saxpy};
    ///
    /// let runtime = Runtime::builder().build()?;
    /// let explained = runtime.kernel::<saxpy::Kernel>()?.explain();
    /// let footprint = explained.footprint().expect("it is not refused");
    /// assert_eq!(footprint.touches(), ["reads x[0..n]", "reads y[0..n]", "writes y[0..n]"]);
    /// assert!(footprint.can_be_proved());
    /// # Ok::<(), farptr::Error>(())
    /// ```
    #[must_use]
    pub fn footprint(&self) -> Option<&KernelFootprint> {
        self.found.as_ref().ok().map(|found| &found.footprint)
    }

    /// How many accesses are checked by an index into a pointer argument, the cheapest way.
    #[must_use]
    pub fn accesses_by_index(&self) -> usize {
        self.count(|check| matches!(check, Check::Index(_)))
    }

    /// How many accesses are checked by their address, which may come from memory.
    #[must_use]
    pub fn accesses_by_address(&self) -> usize {
        self.count(|check| matches!(check, Check::Address(_)))
    }

    /// Whether a launch in rounds copies pages again after a round with faults, where the
    /// arguments do not overlap; if they do it always does.
    #[must_use]
    pub fn undoes_rounds(&self) -> bool {
        let analysis = self.analysis();
        analysis.is_some_and(|analysis| Replay::of(&analysis.effects) == Replay::Undo)
    }

    fn count(&self, wanted: impl Fn(Check) -> bool) -> usize {
        let sites = self.analysis().map_or(&[][..], |analysis| &analysis.sites);
        sites.iter().filter(|site| wanted(site.check)).count()
    }
}

impl fmt::Display for KernelExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel      {}", self.name)?;
        for (constant, label) in self.constants.iter().zip(once("constants").chain(repeat(""))) {
            writeln!(f, "{label:11} {constant} = {}", constant.default)?;
        }
        let Found { analysis, footprint, guarded } = match &self.found {
            Ok(found) => found,
            Err(refusal) => return write!(f, "checked     never: {refusal}"),
        };
        for (line, label) in footprint.to_string().lines().zip(once("touches").chain(repeat(""))) {
            writeln!(f, "{label:11} {line}")?;
        }
        writeln!(f, "proofs      {}", proofs(footprint))?;
        let (index, address) = (self.accesses_by_index(), self.accesses_by_address());
        let own = self.count(|check| check == Check::Own);
        writeln!(f, "accesses    {index} by index, {address} by address, {own} to own arrays")?;
        for site in &analysis.sites {
            write!(f, "            {} ({}) ", site.instruction, site.access)?;
            check(f, analysis, site.check)?;
            match &site.line {
                Some(line) => writeln!(f, " at {}:{}", line.file, line.line)?,
                None => writeln!(f)?,
            }
        }
        let roots: Vec<String> = analysis.roots.iter().map(|&root| place(root)).collect();
        let roots = if roots.is_empty() { "none".to_owned() } else { roots.join(", ") };
        writeln!(f, "roots       pointer arguments at push-constant bytes: {roots}")?;
        let guard = if *guarded { ", and cuts by the driver are noticed" } else { "" };
        match analysis.loops {
            0 => writeln!(f, "loops       none")?,
            loops => writeln!(f, "loops       {loops}: iterations are limited{guard}")?,
        }
        writeln!(f, "effects     {}", effects(&analysis.effects))?;
        let replay = Replay::of(&analysis.effects);
        write!(f, "rounds      {replay}; because {}", reason(replay, analysis))
    }
}

/// Which launches may be proved.
fn proofs(footprint: &KernelFootprint) -> &'static str {
    if footprint.can_be_proved() {
        "may run without checks: where all that is lent, and no number wraps"
    } else {
        "checks stay for what is not known here, unless it is known of a launch"
    }
}

/// The place of a root's address: its byte of the push constants.
fn place(root: Root) -> String {
    let Root::Push { offset_bytes } = root;
    offset_bytes.to_string()
}

/// How an access is checked.
fn check(f: &mut fmt::Formatter<'_>, analysis: &Analysis, check: Check) -> fmt::Result {
    match check {
        Check::Index(check) => {
            let check = analysis.index_checks.get(check);
            let root = check.and_then(|check| analysis.roots.get(check.root));
            match root {
                Some(&root) => write!(f, "by index from root {}", place(root)),
                None => f.write_str("by index"),
            }
        }
        Check::Address(_) => f.write_str("by address"),
        Check::Own => f.write_str("by index into an own array"),
    }
}

/// The kernel's effects, in words.
fn effects(effects: &Effects) -> String {
    let all = [
        (effects.writes, "writes"),
        (effects.atomics, "atomics"),
        (effects.barriers, "barriers"),
        (effects.subgroups, "subgroup operations"),
    ];
    let there: Vec<&str> = all.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
    if there.is_empty() { "reads only".to_owned() } else { there.join(", ") }
}

/// Why rounds are undone in this way.
fn reason(replay: Replay, analysis: &Analysis) -> &'static str {
    let effects = &analysis.effects;
    match replay {
        Replay::ReadOnly => "nothing is written",
        Replay::Overwrite => {
            "what is written depends on arguments and invocations alone, and it is never read; \
             arguments that overlap are undone all the same"
        }
        Replay::Undo if effects.atomics => "an atomic operation adds to what a round left",
        Replay::Undo if effects.subgroups => "what is written may depend on others of a subgroup",
        Replay::Undo if !analysis.is_roots_only() => "an address is known only when it is used",
        Replay::Undo if reads_what_it_writes(analysis) => {
            "one argument is both read and written, so a second round would start from the first's \
             results"
        }
        Replay::Undo => "where or whether something is written depends on what is read",
    }
}

fn reads_what_it_writes(analysis: &Analysis) -> bool {
    let of = |writes: bool| {
        let checks = analysis.index_checks.iter();
        checks.filter(move |check| check.access.writes() == writes).map(|check| check.root)
    };
    let read: HashSet<usize> = of(false).collect();
    of(true).any(|root| read.contains(&root))
}
