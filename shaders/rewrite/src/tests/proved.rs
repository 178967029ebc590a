//! Forms that rely on what is known of a launch.

use super::forms::variants;
use super::glsl::HEAD;
use super::tools::{compile, validate};
use crate::contract::analysis::{Analysis, Check};
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::program::Program;
use farptr_kernels::{KernelDesc, chase, dot, gather, saxpy, saxpy4, spmv};
use rspirv::dr::{Instruction, Module, Operand, load_words};
use rspirv::spirv::{Op, StorageClass};

const ALL: Proved = Proved { checks: u64::MAX, own: true, loops: true };
/// Everything but that loops end.
const ACCESSES: Proved = Proved { loops: false, ..ALL };

const DIRECT: Variant = Variant {
    translation: Translation::None,
    search: Search::Unrolled(0),
    offset_roots: false,
    joint: false,
    integers: Integers::Native,
    loop_guard: false,
    subgroup_faults: false,
    fold: Fold::None,
    wide_offsets: false,
    proved: Proved::NOTHING,
};

/// Variants of every kind that know something: all, all but one thing, or some checks.
pub(crate) fn relying() -> Vec<Variant> {
    let some = [
        ALL,
        ACCESSES,
        Proved { checks: 0, own: false, loops: true },
        Proved { checks: 0x5555_5555_5555_5555, own: false, loops: false },
        Proved { checks: 2, own: true, loops: true },
    ];
    // Each of the some meets each translation: their numbers have no common divisor.
    let variants = variants().into_iter().enumerate().filter(|(at, _)| at % 3 == 0);
    variants.map(|(at, variant)| Variant { proved: some[at % some.len()], ..variant }).collect()
}

fn program<K: KernelDesc>() -> Program {
    Program::parse(K::words(), None).expect("the kernel can be rewritten")
}

fn module(words: &[u32]) -> Module {
    load_words(words).expect("it is a module")
}

fn form(program: &Program, variant: &Variant, proved: Proved) -> Module {
    module(&program.rewrite(&Variant { proved, ..*variant }).expect("it is small"))
}

fn code(module: &Module) -> impl Iterator<Item = &Instruction> {
    module.functions.iter().flat_map(|function| function.all_inst_iter())
}

fn count(module: &Module, op: Op) -> usize {
    code(module).filter(|i| i.class.opcode == op).count()
}

/// The checks of a form of a kernel that has no private variables: each notes its faults in the
/// first variable of the pass.
fn checks(module: &Module) -> usize {
    let private = Operand::StorageClass(StorageClass::Private);
    let mut globals = module.types_global_values.iter();
    let fault = globals.find(|i| i.class.opcode == Op::Variable && i.operands[0] == private);
    let fault = Operand::IdRef(fault.and_then(|fault| fault.result_id).expect("it is declared"));
    code(module).filter(|i| i.class.opcode == Op::Store && i.operands[0] == fault).count()
}

/// The sites that have one of some checks.
fn sites(analysis: &Analysis, has: impl Fn(Check) -> bool) -> usize {
    analysis.sites.iter().filter(|site| has(site.check)).count()
}

#[test]
fn forms_that_rely_on_something_are_valid() {
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, Some("main")).expect(name);
        for variant in relying() {
            let words = program.rewrite(&variant).expect(name);
            validate(&words, &format!("{name} as {variant:?}"));
        }
    }
}

#[test]
fn a_form_leaves_out_what_is_known_and_nothing_else() {
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, None).expect(name);
        let analysis = program.analysis();
        for translation in [Translation::None, Translation::Segments] {
            let search = Search::Unrolled(2);
            let variant = Variant { translation, search, loop_guard: true, ..DIRECT };
            for known in 0..analysis.index_checks.len() {
                let proved = Proved { loops: true, ..Proved::NOTHING.with_check(known) };
                let left = checks(&form(&program, &variant, proved));
                let expected = sites(analysis, |check| check != Check::Index(known));
                assert_eq!(left, expected, "{name} without check {known}");
            }
            let own = Proved { own: true, loops: true, ..Proved::NOTHING };
            let left = checks(&form(&program, &variant, own));
            assert_eq!(left, sites(analysis, |check| check != Check::Own), "{name}");
            let left = checks(&form(&program, &variant, ALL));
            assert_eq!(left, sites(analysis, |check| matches!(check, Check::Address(_))), "{name}");
        }
    }
}

#[test]
fn where_nothing_can_fail_there_is_no_report_and_no_limit() {
    let mut seen = 0;
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, None).expect(name);
        let analysis = program.analysis();
        if !analysis.is_roots_only() || analysis.sites.is_empty() {
            continue;
        }
        let original = module(words);
        for translation in [Translation::None, Translation::Segments] {
            let variant = Variant { translation, loop_guard: true, ..DIRECT };
            let checked = form(&program, &variant, Proved::NOTHING);
            let form = form(&program, &variant, ALL);
            for op in [Op::AtomicIAdd, Op::LoopMerge, Op::ULessThan, Op::ULessThanEqual] {
                assert_eq!(count(&form, op), count(&original, op), "{name}: {op:?}");
            }
            assert!(count(&checked, Op::AtomicIAdd) > count(&original, Op::AtomicIAdd), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} forms");
}

#[test]
fn normalised_variants_are_the_same_words() {
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, None).expect(name);
        let analysis = program.analysis();
        for variant in relying() {
            let normal = variant.normalised(analysis);
            assert_eq!(normal.normalised(analysis), normal);
            assert_eq!(program.rewrite(&variant), program.rewrite(&normal), "{name}: {variant:?}");
        }
    }
}

#[test]
fn what_makes_no_difference_is_normalised_away() {
    let (saxpy, spmv) = (program::<saxpy::Kernel>(), program::<spmv::Kernel>());
    let guarded = Variant { loop_guard: true, offset_roots: true, proved: ALL, ..DIRECT };
    let normal = guarded.normalised(saxpy.analysis());
    assert_eq!(normal.proved, Proved { checks: 0b111, own: false, loops: false });
    assert!(!normal.loop_guard && !normal.offset_roots);
    let normal = guarded.normalised(spmv.analysis());
    assert!(normal.proved.loops && !normal.loop_guard && !normal.offset_roots);
    let normal = Variant { proved: ACCESSES, ..guarded }.normalised(spmv.analysis());
    assert!(normal.loop_guard && normal.offset_roots, "checks behind loops stay");
    let table = Variant { translation: Translation::Table { tree: false }, ..guarded };
    let normal = table.normalised(spmv.analysis());
    assert_eq!(normal.proved, Proved { checks: 0, own: false, loops: true });
    assert!(normal.offset_roots);
}

/// Kernels, and how many checks of index and own variable are left if all is known but that loops
/// end: with loops that are limited, and with loops that a driver may cut.
const LOOPS: &[(&str, &str, [usize; 2])] = &[
    ("before and behind", "void main() { b.at[0] = 1; LOOP b.at[1] = 2; b.at[2] = 3; }", [0, 2]),
    (
        "within loops",
        "void main() { b.at[0] = n;
            for (uint i = 0; i != n; i++) { b.at[i] = i; LOOP } }",
        [0, 3],
    ),
    (
        "behind branches",
        "void main() { if (n == 3) { LOOP b.at[0] = 1; } else { b.at[1] = 2; } b.at[2] = 3; }",
        [0, 2],
    ),
    (
        "behind a call",
        "void f() { LOOP }
        void main() { b.at[0] = 1; f(); b.at[1] = 2; if (n == 7) b.at[2] = 3; }",
        [2, 2],
    ),
    (
        "behind a call of a call, in a loop",
        "void f() { LOOP } void g() { b.at[3] = 1; f(); }
        void main() { b.at[0] = 1; for (uint i = 0; i != n; i++) { b.at[1] = 2; g(); } }",
        [4, 4],
    ),
    (
        "in a function that is called before and behind",
        "void f() { LOOP } void g(uint i) { b.at[i] = 1; } void h(uint i) { b.at[i] = 2; }
        void main() { g(1); h(1); f(); g(2); }",
        [1, 1],
    ),
    (
        "indices of own variables",
        "void f() { LOOP } void main() { uint own[5];
            own[n] = 3; for (uint i = 0; i != n; i++) { own[i] = 4; }
            b.at[0] = own[n]; f(); b.at[1] = own[n + 1]; }",
        [2, 6],
    ),
];

#[test]
fn what_runs_behind_a_loop_that_may_be_left_early_is_checked() {
    for &(name, body, expected) in LOOPS {
        let body = body.replace("LOOP", "while (a.at[0] != n) { a.at[1] = 1; }");
        let glsl = format!(
            "{HEAD}
            layout(buffer_reference, std430, buffer_reference_align = 4) buffer B {{ uint at[]; }};
            layout(push_constant) uniform Push {{ B a; B b; uint n; }};
            {body}"
        );
        let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
        let program = Program::parse(&words, None).expect("it can be rewritten");
        for (loop_guard, expected) in [(false, expected[0]), (true, expected[1])] {
            for translation in [Translation::None, Translation::Segments] {
                let variant = Variant { translation, loop_guard, ..DIRECT };
                assert_eq!(checks(&form(&program, &variant, ALL)), 0, "{name}");
                let left = checks(&form(&program, &variant, ACCESSES));
                assert_eq!(left, expected, "{name}, cut: {loop_guard}");
                let every = checks(&form(&program, &variant, Proved::NOTHING));
                assert_eq!(every, program.analysis().sites.len(), "{name}");
            }
        }
    }
}

/// Instructions in the functions of forms: of the original; and of the forms that check
/// everything, that know about indices, and that know about loops too, without translation and
/// with segments.
const INSTRUCTIONS: &[(&str, [usize; 7])] = &[
    ("saxpy", [42, 189, 58, 58, 189, 73, 73]),
    ("saxpy4", [42, 189, 58, 58, 189, 73, 73]),
    ("gather", [41, 188, 57, 57, 188, 72, 72]),
    ("spmv", [171, 474, 319, 187, 474, 351, 219]),
    ("dot", [144, 424, 292, 160, 424, 307, 175]),
    ("chase", [73, 308, 268, 218, 315, 285, 235]),
];

/// Instructions of the entry point around a kernel in which nothing can fail.
const ENTRY: usize = 16;

#[test]
fn what_is_known_makes_forms_smaller() {
    fn counts<K: KernelDesc>() -> [usize; 7] {
        let program = program::<K>();
        let size = |module: &Module| code(module).count();
        let of = |translation| {
            let searched = usize::from(!program.analysis().is_roots_only());
            let search = Search::among(searched).expect("one segment");
            let variant = Variant { translation, search, ..DIRECT };
            [Proved::NOTHING, ACCESSES, ALL].map(|proved| size(&form(&program, &variant, proved)))
        };
        let [one, two, three] = of(Translation::None);
        let [four, five, six] = of(Translation::Segments);
        [size(&module(K::words())), one, two, three, four, five, six]
    }
    let found = [
        ("saxpy", counts::<saxpy::Kernel>()),
        ("saxpy4", counts::<saxpy4::Kernel>()),
        ("gather", counts::<gather::Kernel>()),
        ("spmv", counts::<spmv::Kernel>()),
        ("dot", counts::<dot::Kernel>()),
        ("chase", counts::<chase::Kernel>()),
    ];
    assert_eq!(found[..], *INSTRUCTIONS);
    let direct = found.iter().filter(|(name, _)| *name != "chase");
    for (name, [original, _, _, direct, ..]) in direct {
        assert_eq!(*direct, original + ENTRY, "{name} is the kernel as it was");
    }
}
