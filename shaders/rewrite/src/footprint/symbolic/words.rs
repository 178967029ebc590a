//! What is known of a kernel, in words.

use crate::contract::analysis::{AccessKind, Analysis, Check, Root, Site};
use crate::footprint::explain::{NO_COUNTER, place};
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::sum::Sum;
use crate::footprint::symbolic::text::Names;
use crate::footprint::symbolic::{Bytes, Reach, Symbolic};
use crate::footprint::unknown::Unknown;
use std::fmt;

/// The bytes that a kernel touches in any launch, in words: `reads x[0..n], writes y[0..n]`.
///
/// [`Footprints::of_kernel`](crate::Footprints::of_kernel) gives one. The numbers of the push
/// constants have their names; `invocations.x` is how many invocations a launch has along x, and
/// `groups.x` how many workgroups. An element is what the kernel indexes.
///
/// It holds for launches in which the numbers among the push constants are not negative (their
/// highest bit is not set), nothing is divided by 0, and no sum, product or shift leaves the
/// numbers with a sign of its width. The bounds may be too large, never too small. It is for people
/// to read: whether a launch is proved is decided by its own [`Footprint`](crate::Footprint).
///
/// The wording may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFootprint {
    touches: Vec<String>,
    conditions: Vec<String>,
    doubts: Vec<String>,
    accesses_known: bool,
}

impl KernelFootprint {
    /// The elements of each argument that are read and written, as far as they are known: as
    /// `reads x[0..n]`.
    #[must_use]
    pub fn touches(&self) -> &[String] {
        &self.touches
    }

    /// What a launch has to see to besides, such as the step of a loop that may be 0.
    #[must_use]
    pub fn conditions(&self) -> &[String] {
        &self.conditions
    }

    /// Accesses that are not known and loops that are not known to end, each with its place in the
    /// source, if the module has lines, and the reason.
    #[must_use]
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// Whether every access is known and every loop is known to end. Then a launch may be proved if
    /// its arguments lend what it touches, and its numbers do not wrap.
    #[must_use]
    pub fn can_be_proved(&self) -> bool {
        self.doubts.is_empty()
    }

    /// A kernel of which nothing is known.
    pub(in crate::footprint) fn unknown(why: Unknown) -> Self {
        let doubts = vec![format!("nothing is known of it: {why}")];
        Self { touches: Vec::new(), conditions: Vec::new(), doubts, accesses_known: false }
    }

    pub(in crate::footprint) fn of(
        symbolic: &Symbolic,
        analysis: &Analysis,
        names: &[(u32, String)],
        local_size: [u32; 3],
    ) -> Self {
        let mut words = Writer {
            analysis,
            names: Names { push: names, local_size },
            touches: Vec::new(),
            conditions: Vec::new(),
            doubts: Vec::new(),
        };
        for root in words.roots(symbolic) {
            words.root(root, symbolic);
        }
        for (site, reach) in analysis.sites.iter().zip(&symbolic.sites) {
            words.site(site, reach);
        }
        let accesses_known = words.doubts.is_empty();
        for (number, steps) in symbolic.loops.iter().enumerate() {
            words.of_loop(number, steps.as_deref());
        }
        let Writer { touches, conditions, doubts, .. } = words;
        Self { touches, conditions, doubts, accesses_known }
    }
}

impl fmt::Display for KernelFootprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = self.touches.join(", ");
        if self.accesses_known {
            first += if first.is_empty() { "no argument" } else { "; every access is known" };
        }
        let lines = [&first].into_iter().filter(|line| !line.is_empty());
        let lines = lines.chain(&self.conditions).chain(&self.doubts);
        for (number, line) in lines.enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{line}")?;
        }
        Ok(())
    }
}

/// What is known of a kernel, while it is being put into words.
struct Writer<'w> {
    analysis: &'w Analysis,
    names: Names<'w>,
    touches: Vec<String>,
    conditions: Vec<String>,
    doubts: Vec<String>,
}

impl Writer<'_> {
    /// The arguments of which something is known, by their bytes in the push constants.
    fn roots(&self, symbolic: &Symbolic) -> Vec<u32> {
        let bytes = symbolic.sites.iter().flat_map(bytes);
        let mut roots: Vec<u32> = bytes.map(|bytes| bytes.root).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// What is read and written of an argument.
    fn root(&mut self, root: u32, symbolic: &Symbolic) {
        let element = self.element(root, symbolic);
        for (verb, is_it) in [("reads", reads as fn(AccessKind) -> bool), ("writes", writes)] {
            let sites = self.analysis.sites.iter().zip(&symbolic.sites);
            let all: Vec<&Bytes> = sites
                .filter(|(site, _)| is_it(site.access))
                .flat_map(|(_, reach)| bytes(reach))
                .filter(|bytes| bytes.root == root)
                .collect();
            if !all.is_empty() {
                self.touches.push(self.touched(verb, root, &all, element));
            }
        }
    }

    fn touched(&self, verb: &str, root: u32, all: &[&Bytes], element: Option<i128>) -> String {
        let name = self.names.argument(root);
        let starts = all.iter().map(|of| Some(of.start.clone()));
        let start = starts.reduce(|one, other| one?.min(other?)).flatten();
        let ends = all.iter().map(|of| Some(of.end.clone()));
        let end = ends.reduce(|one, other| one?.max(other?)).flatten();
        let Some((start, end)) = start.zip(end) else {
            return format!("{verb} {name} within several bounds");
        };
        let in_elements = element.and_then(|size| {
            let by = |of: &Bound, up: bool| of.map(&|sum| elements(sum, size, up));
            by(&start, false).zip(by(&end, true))
        });
        match in_elements {
            Some((start, end)) => format!("{verb} {name}[{}]", self.names.range(&start, &end)),
            None => {
                let (start, end) = (self.names.bound(&start), self.names.bound(&end));
                format!("{verb} bytes {start}..{end} of {name}")
            }
        }
    }

    /// The size of an argument's elements, if all accesses agree about it.
    fn element(&self, root: u32, symbolic: &Symbolic) -> Option<i128> {
        let (mut indexed, mut alone) = (Vec::new(), Vec::new());
        for (site, reach) in self.analysis.sites.iter().zip(&symbolic.sites) {
            if !bytes(reach).any(|bytes| bytes.root == root) {
                continue;
            }
            match site.check {
                Check::Index(check) => {
                    let check = self.analysis.index_checks.get(check)?;
                    match check.stride_bytes {
                        0 => alone.push((check.size_bytes, check.offset_bytes)),
                        stride if check.offset_bytes + check.size_bytes <= stride => {
                            indexed.push(stride);
                        }
                        _ => return None,
                    }
                }
                Check::Address(check) => {
                    indexed.push(self.analysis.address_checks.get(check)?.size_bytes);
                }
                Check::Own => {}
            }
        }
        let size = indexed.first().copied().or(alone.first().map(|(size, _)| *size))?;
        let agree = indexed.iter().all(|of| *of == size);
        let fit = |(of, at): &(u32, u32)| of + at % size <= size;
        (agree && size > 0 && alone.iter().all(fit)).then_some(size.into())
    }

    /// What is not known of a site, or what it depends on besides arguments.
    fn site(&mut self, site: &Site, reach: &Reach) {
        let place = place(site.line.as_ref());
        let lines = match reach {
            Reach::Bytes(_) => return,
            Reach::Own(all) => {
                let depends = all.iter().filter(|(last, _)| last.as_constant().is_none());
                let lines: Vec<String> = depends
                    .map(|(last, length)| {
                        let last = self.names.bound(last);
                        let what = format!("an index into a variable of {length} elements{place}");
                        format!("only if {last} < {length}: {what}")
                    })
                    .collect();
                self.conditions.extend(lines);
                return;
            }
            Reach::Unknown(root, why) => {
                let what = match (site.check, self.root_of(site).or(*root)) {
                    (Check::Own, _) => "an index into a variable of its own".to_owned(),
                    (_, Some(root)) => {
                        format!("the {} of {}", noun(site.access), self.names.argument(root))
                    }
                    (_, None) if site.access == AccessKind::Atomic => {
                        "an atomic access through a pointer".to_owned()
                    }
                    (_, None) => format!("a {} through a pointer", noun(site.access)),
                };
                format!("not known: {what}{place}; {why}")
            }
        };
        if !self.doubts.contains(&lines) {
            self.doubts.push(lines);
        }
    }

    /// The argument that an access indexes.
    fn root_of(&self, site: &Site) -> Option<u32> {
        let Check::Index(check) = site.check else { return None };
        let root = self.analysis.index_checks.get(check)?.root;
        let root = *self.analysis.roots.get(root)?;
        let Root::Push { offset_bytes } = root;
        Some(offset_bytes)
    }

    fn of_loop(&mut self, number: usize, steps: Option<&[Bound]>) {
        let line = self.analysis.loop_lines.get(number).and_then(Option::as_ref);
        let name = match line {
            Some(_) => format!("the loop{}", place(line)),
            None => format!("loop {} of {}", number + 1, self.analysis.loops),
        };
        let Some(steps) = steps else {
            return self.doubts.push(format!("not known to end: {name}; {NO_COUNTER}"));
        };
        for step in steps.iter().filter(|step| !step.is_at_least(1)) {
            let line = format!("only if {} > 0: {name} ends", self.names.bound(step));
            if !self.conditions.contains(&line) {
                self.conditions.push(line);
            }
        }
    }
}

/// The bytes that a site reaches.
fn bytes(reach: &Reach) -> impl Iterator<Item = &Bytes> {
    let known = match reach {
        Reach::Bytes(all) => &all[..],
        Reach::Own(_) | Reach::Unknown(..) => &[],
    };
    known.iter()
}

fn reads(access: AccessKind) -> bool {
    access != AccessKind::Write
}

fn writes(access: AccessKind) -> bool {
    access.writes()
}

fn noun(access: AccessKind) -> &'static str {
    match access {
        AccessKind::Read => "read",
        AccessKind::Write => "write",
        AccessKind::Atomic => "atomic access",
    }
}

/// Bytes as elements of a size, rounded. `None` if that is not the same in every launch.
fn elements(of: &Sum, size: i128, up: bool) -> Option<Sum> {
    let rest = of.rest();
    let whole = rest.div_euclid(size) + i128::from(up && rest.rem_euclid(size) != 0);
    let products = of.moved(-rest)?;
    let is_whole = products.terms().all(|(_, times)| times % size == 0);
    let (products, _) = products.divided(&Sum::constant(size));
    products.filter(|_| is_whole)?.moved(whole)
}
