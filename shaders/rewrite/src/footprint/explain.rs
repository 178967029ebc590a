//! A footprint in words.

use crate::contract::analysis::{Analysis, Line, Root};
use crate::footprint::result::{Footprint, RootBytes, SiteReach};

/// Why a loop is not known to end.
pub(super) const NO_COUNTER: &str =
    "no counter of it is known to come nearer to a bound in each run";

impl Footprint {
    /// Says in words what is known of a launch: a line for each argument that is touched, for each
    /// site whose reach is not known, with its place in the source and the reason, and for the
    /// loops.
    ///
    /// `analysis` is that of the kernel, and `names` are those of its push constants by their
    /// offsets, as in [`Reflection::push_names`](crate::Reflection::push_names).
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_kernels::{KernelDesc, saxpy};
    /// use farptr_rewrite::{Program, Reflection};
    ///
    /// let words = saxpy::Kernel::words();
    /// let program = Program::parse(words, None)?;
    /// let names = Reflection::of(words)?.push_names;
    /// let mut push = [0; 24];
    /// push[16] = 100; // n
    /// let footprint = program.footprints().of_launch(&push, [2, 1, 1]);
    /// assert_eq!(
    ///     footprint.explain(program.analysis(), &names),
    ///     "reads bytes 0 to 400 of `x`\n\
    ///      reads bytes 0 to 400 of `y`, writes bytes 0 to 400\n\
    ///      every access is known\n"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, analysis: &Analysis, names: &[(u32, String)]) -> String {
        let mut lines = Vec::new();
        if let Some(why) = self.unknown {
            lines.push(format!("nothing is known of this launch: {why}"));
        } else {
            lines.extend(self.roots.iter().map(|root| touched(root, names)));
            let sites = analysis.sites.iter().zip(&self.sites);
            lines.extend(sites.filter_map(|(site, reach)| {
                let SiteReach::Unknown(why) = reach else { return None };
                let place = place(site.line.as_ref());
                Some(format!("not known: the {}{place}; {why}", site.instruction))
            }));
            if self.is_bounded() {
                lines.push("every access is known".to_owned());
            }
            lines.extend(self.loop_lines(analysis));
        }
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// How often loops run, or which are not known to end: by their lines if there are any.
    fn loop_lines(&self, analysis: &Analysis) -> Vec<String> {
        if let Some(runs) = self.loop_runs {
            let line = format!("the loops of an invocation run at most {runs} times in all");
            return if self.loops.is_empty() { Vec::new() } else { vec![line] };
        }
        let unknown = self.loops.iter().enumerate().filter(|(_, runs)| runs.is_none());
        let line = |at: usize| analysis.loop_lines.get(at).and_then(Option::as_ref);
        let (known, nameless): (Vec<usize>, Vec<usize>) =
            unknown.map(|(at, _)| at).partition(|&at| line(at).is_some());
        let mut lines: Vec<String> = known
            .into_iter()
            .map(|at| format!("not known to end: the loop{}; {NO_COUNTER}", place(line(at))))
            .collect();
        if !nameless.is_empty() {
            let numbers: Vec<String> = nameless.iter().map(|at| (at + 1).to_string()).collect();
            let (numbers, all) = (numbers.join(", "), self.loops.len());
            lines.push(format!("not known to end: loop {numbers} of {all}"));
        }
        if lines.is_empty() {
            lines.push(
                "the loops of an invocation may run too often in all to be counted".to_owned(),
            );
        }
        lines
    }
}

/// A place in the source, if it is known.
pub(super) fn place(line: Option<&Line>) -> String {
    line.map(|at| format!(" at {}:{}", at.file, at.line)).unwrap_or_default()
}

/// The bytes of an argument that are touched.
fn touched(of: &RootBytes, names: &[(u32, String)]) -> String {
    let root = of.root;
    let Root::Push { offset_bytes } = root;
    let name = names.iter().find(|(at, _)| *at == offset_bytes).map(|(_, name)| name.as_str());
    let name = match name {
        Some(name) if !name.is_empty() => format!("`{name}`"),
        _ => format!("the argument at byte {offset_bytes}"),
    };
    let bytes = |(start, end): (i64, i64)| format!("bytes {start} to {end}");
    match (of.reads.map(bytes), of.writes.map(bytes)) {
        (Some(reads), Some(writes)) => format!("reads {reads} of {name}, writes {writes}"),
        (Some(reads), None) => format!("reads {reads} of {name}"),
        (None, Some(writes)) => format!("writes {writes} of {name}"),
        (None, None) => format!("does not touch {name}"),
    }
}
