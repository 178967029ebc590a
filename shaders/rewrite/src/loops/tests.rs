//! Loops and entry points of many forms, rewritten and validated.

use crate::contract::analysis::{AccessKind, AddressCheck, Analysis, Check, Effects, Site};
use crate::contract::control::Layout;
use crate::contract::error::RewriteError;
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::emit::entry::wrap_entry;
use crate::emit::shared::Shared;
use crate::ir::edit::Edit;
use crate::load::places::Places;
use crate::loops::bound::bound_loops;
use crate::tests::run::{run, to_bytes, to_words};
use rspirv::binary::Assemble;
use rspirv::dr::Module;
use rspirv::spirv::Op;

/// Bodies of `main`, in GLSL. `n` is a push constant and `acc` is stored at the end.
const SHAPES: &[(&str, &str)] = &[
    ("for", "for (uint i = 0; i < n; i++) acc += i * acc;"),
    ("while", "uint i = n; while (i != 1) { i = (i & 1) == 0 ? i / 2 : 3 * i + 1; acc++; }"),
    ("do-while", "uint i = 0; do { acc += i; i += 3; } while (i < n);"),
    ("forever", "for (;;) { acc = acc * 3 + 1; if (acc > n) break; }"),
    ("forever, return", "for (;;) { acc = acc * 3 + 1; if (acc > n) return; }"),
    ("forever, nothing", "for (;;) { }"),
    ("while true, return", "while (true) { acc += 3; if (acc > n) { words[1] = acc; return; } }"),
    ("at once", "for (;;) { acc++; return; }"),
    ("continue", "for (uint i = 0; i < n; i++) { if ((i & 3) == 0) continue; acc ^= i; }"),
    ("nested", "for (uint i = 0; i < n; i++) { for (uint j = i; j < n; j++) acc += j; acc ^= i; }"),
    (
        "nested, do",
        "uint i = 0; do { uint j = 0; do { acc += j; j++; } while (j < n); i++; } while (i < n);",
    ),
    (
        "nested, left only by return",
        "for (uint i = 0; i < n; i++) { uint k = i; \
         do { if (words[k] == 7) return; k++; } while (true); }",
    ),
    (
        "forever in a switch in a loop",
        "for (uint i = 0; i < n; i++) { switch (acc & 3) { \
         case 0: for (;;) { if (acc++ == n) return; } \
         case 1: do { acc += 3; continue; } while (false); break; \
         default: while (true) { return; } } \
         acc ^= i; }",
    ),
    (
        "behind jumps",
        "for (uint i = 0; i < n; i++) { if (acc == i) { break; acc++; } \
         else { continue; acc += 2; } \
         for (uint j = 0; j < n; j++) { acc += j; continue; for (;;) acc++; } return; }",
    ),
    (
        "in sequence",
        "for (uint i = 0; i < n; i++) acc += i; for (uint i = 0; i < n; i++) acc ^= i;",
    ),
    (
        "switch",
        "for (uint i = 0; i < n; i++) switch (i % 5) { case 0: acc++; break; case 1: continue; \
         case 2: acc += 2; default: if (acc > 99) return; acc *= 3; }",
    ),
    (
        "branches in a do",
        "uint i = 0; do { if (words[i] > acc) { acc += i; } else { acc ^= i; } i++; if (acc == 7) \
         continue; acc++; } while (i < n);",
    ),
    ("function", "acc = collatz(n); acc += search(acc).x;"),
    ("function in a loop", "for (uint i = 0; i < n; i++) acc += collatz(i);"),
    ("function in a condition", "for (uint i = 0; i < collatz(n); i++) acc += i;"),
    ("barrier", "for (uint i = 0; i < n; i++) { barrier(); acc += i; }"),
    ("no loop", "acc += 1;"),
];

/// A kernel around a shape.
fn source(body: &str) -> String {
    format!(
        "#version 450
        layout(local_size_x = 8) in;
        layout(set = 1, binding = 0) buffer Words {{ uint words[]; }};
        layout(push_constant) uniform Push {{ uint n; }};
        uint collatz(uint i) {{
            uint steps = 0;
            while (i > 1) {{
                i = (i & 1) == 0 ? i / 2 : 3 * i + 1;
                if (i == 77) return 7;
                steps++;
            }}
            return steps;
        }}
        uvec2 search(uint x) {{
            for (uint i = 0; ; i++) {{
                for (uint j = 0; j < i; j++) if (words[j] == x) return uvec2(i, j);
            }}
        }}
        void main() {{ uint acc = gl_GlobalInvocationID.x; {body} words[acc] = acc; }}"
    )
}

/// The words of GLSL, for an environment, optimised by these options of spirv-opt if any.
fn compile(glsl: &str, env: &str, optimise: &[&str]) -> Option<Vec<u32>> {
    let folder = tempfile::tempdir().expect("a folder for output");
    let [source, path] = ["kernel.comp", "kernel.spv"].map(|name| folder.path().join(name));
    std::fs::write(&source, glsl).expect("the folder is writable");
    let [source, path] = [&source, &path].map(|path| path.to_str().expect("a plain path"));
    let arguments = ["-V", "--target-env", env, source, "-o", path];
    run("glslangValidator", &arguments, &[])?.expect("the shape compiles");
    if !optimise.is_empty() {
        let arguments = [optimise, &[path, "-o", path]].concat();
        run("spirv-opt", &arguments, &[])?.expect("the shape can be optimised");
    }
    Some(to_words(&std::fs::read(path).expect("the compiler wrote it")))
}

/// Asserts that words are a valid module. Gives whether that could be told.
fn assert_valid(words: &[u32], env: &str, what: &str) -> bool {
    match run("spirv-val", &["--target-env", env, "-"], &to_bytes(words)) {
        Some(Ok(_)) => true,
        Some(Err(said)) => {
            let text = run("spirv-dis", &["-"], &to_bytes(words));
            let text = text.and_then(Result::ok).unwrap_or_default();
            panic!("{what}: {said}\n{}", String::from_utf8_lossy(&text));
        }
        None => false,
    }
}

fn variants() -> Vec<Variant> {
    let resident = Variant {
        translation: Translation::Segments,
        search: Search::Unrolled(1),
        offset_roots: false,
        integers: Integers::Pairs,
        joint: false,
        loop_guard: false,
        subgroup_faults: false,
        fold: Fold::None,
        wide_offsets: false,
        proved: Proved::NOTHING,
    };
    let table = Translation::Table { tree: true };
    let bisected = Search::Bisected { steps: 5 };
    vec![
        resident,
        Variant { loop_guard: true, ..resident },
        Variant { translation: table, search: Search::Unrolled(4), ..resident },
        Variant { translation: table, search: bisected, subgroup_faults: true, ..resident },
    ]
}

/// An analysis as of a kernel with accesses, so that faults are reported.
fn analysis(module: &Module) -> Analysis {
    let instructions = || module.functions.iter().flat_map(rspirv::dr::Function::all_inst_iter);
    let site =
        |access| Site { instruction: "OpLoad", access, check: Check::Address(0), line: None };
    Analysis {
        sites: vec![site(AccessKind::Read), site(AccessKind::Write)],
        address_checks: vec![AddressCheck {
            size_bytes: 4,
            align_bytes: 4,
            access: AccessKind::Read,
        }],
        loops: instructions().filter(|i| i.class.opcode == Op::LoopMerge).count(),
        effects: Effects {
            barriers: instructions().any(|i| i.class.opcode == Op::ControlBarrier),
            ..Effects::default()
        },
        ..Analysis::default()
    }
}

/// The module with its loops bounded and its entry point wrapped.
fn rewrite(words: &[u32], variant: &Variant) -> Result<Vec<u32>, RewriteError> {
    let module = rspirv::dr::load_words(words).expect("the test's module loads");
    let analysis = analysis(&module);
    let layout = Layout::new(&analysis, variant).expect("few sites");
    let mut edit = Edit::new(module)?;
    let shared = Shared::declare(&mut edit, 0, 0);
    shared.notes_faults.set(true);
    bound_loops(&mut edit, &shared, variant, &analysis.effects, &Places::default())?;
    wrap_entry(&mut edit, &shared, variant, &analysis, &layout, &Places::default(), None)?;
    Ok(edit.finish().assemble())
}

#[test]
fn every_form_of_loop_stays_valid() {
    let mut checked = 0;
    for (name, body) in SHAPES {
        for optimise in [&[][..], &["-O"], &["-Os"], &["--inline-entry-points-exhaustive", "-O"]] {
            for env in ["vulkan1.0", "vulkan1.2"] {
                let Some(words) = compile(&source(body), env, optimise) else { return };
                for variant in variants() {
                    let what = format!("{name}, {env}, {optimise:?}, {variant:?}");
                    let output = match rewrite(&words, &variant) {
                        Ok(output) => output,
                        Err(error) => panic!("{what}: {error}"),
                    };
                    if !assert_valid(&output, "vulkan1.2", &what) {
                        return;
                    }
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, SHAPES.len() * 4 * 2 * variants().len());
}

/// A function of SPIR-V assembly whose blocks are given; `%n` and `%yes` are parameters.
fn assembly(blocks: &str) -> String {
    format!(
        "OpCapability Shader
        OpMemoryModel Logical GLSL450
        OpEntryPoint GLCompute %main \"main\"
        OpExecutionMode %main LocalSize 8 1 1
        %void = OpTypeVoid
        %bool = OpTypeBool
        %uint = OpTypeInt 32 0
        %zero = OpConstant %uint 0
        %one = OpConstant %uint 1
        %true = OpConstantTrue %bool
        %type = OpTypeFunction %void
        %step = OpTypeFunction %uint %uint %bool
        %loops = OpFunction %uint None %step
        %n = OpFunctionParameter %uint
        %yes = OpFunctionParameter %bool
        %entry = OpLabel
        {blocks}
        OpFunctionEnd
        %main = OpFunction %void None %type
        %start = OpLabel
        %called = OpFunctionCall %uint %loops %one %true
        OpReturn
        OpFunctionEnd"
    )
}

/// Blocks that no compiler here makes of GLSL.
const ASSEMBLY: &[(&str, &str)] = &[
    (
        "a header that chooses, without a selection",
        "OpBranch %h
        %h = OpLabel
        %i = OpPhi %uint %zero %entry %j %c
        OpLoopMerge %m %c None
        OpBranchConditional %yes %a %b
        %a = OpLabel
        OpBranchConditional %yes %c %m
        %b = OpLabel
        OpBranchConditional %yes %m %c
        %c = OpLabel
        %j = OpIAdd %uint %i %one
        OpBranch %h
        %m = OpLabel
        OpReturnValue %i",
    ),
    (
        "its own continue target",
        "OpBranch %h
        %h = OpLabel
        %i = OpPhi %uint %zero %entry %j %h
        %j = OpIAdd %uint %i %one
        %more = OpULessThan %bool %j %n
        OpLoopMerge %m %h None
        OpBranchConditional %more %h %m
        %m = OpLabel
        %k = OpPhi %uint %j %h
        OpReturnValue %k",
    ),
    (
        "a loop that ends in the header of another",
        "OpBranch %h
        %h = OpLabel
        %i = OpPhi %uint %zero %entry %j %c
        OpLoopMerge %g %c None
        OpBranchConditional %yes %c %g
        %c = OpLabel
        %j = OpIAdd %uint %i %one
        OpBranch %h
        %g = OpLabel
        %x = OpPhi %uint %i %h %y %d
        OpLoopMerge %m %d None
        OpBranchConditional %yes %d %m
        %d = OpLabel
        %y = OpIAdd %uint %x %one
        OpBranch %g
        %m = OpLabel
        OpReturnValue %x",
    ),
    (
        "an end that is never reached, with a phi",
        "OpBranch %h
        %h = OpLabel
        %i = OpPhi %uint %zero %entry %j %c
        OpLoopMerge %m %c None
        OpBranch %body
        %body = OpLabel
        OpSelectionMerge %never None
        OpBranchConditional %yes %leave %c
        %leave = OpLabel
        OpReturnValue %i
        %never = OpLabel
        OpBranch %m
        %c = OpLabel
        %j = OpIAdd %uint %i %one
        OpBranch %h
        %m = OpLabel
        %k = OpPhi %uint %i %never
        OpReturnValue %k",
    ),
];

#[test]
fn forms_that_compilers_do_not_make_stay_valid() {
    for (name, blocks) in ASSEMBLY {
        let arguments = ["--target-env", "spv1.3", "-", "-o", "-"];
        let Some(bytes) = run("spirv-as", &arguments, assembly(blocks).as_bytes()) else { return };
        let words = to_words(&bytes.expect("it can be assembled"));
        if !assert_valid(&words, "vulkan1.2", name) {
            return;
        }
        for variant in variants() {
            let what = format!("{name}, {variant:?}");
            let output = rewrite(&words, &variant).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_valid(&output, "vulkan1.2", &what);
        }
    }
}

#[test]
fn a_loop_in_a_continue_construct_is_refused() {
    let blocks = "OpBranch %h
        %h = OpLabel
        OpLoopMerge %m %c None
        OpBranchConditional %yes %c %m
        %c = OpLabel
        OpBranch %g
        %g = OpLabel
        OpLoopMerge %e %d None
        OpBranchConditional %yes %d %e
        %d = OpLabel
        OpBranch %g
        %e = OpLabel
        OpBranch %h
        %m = OpLabel
        OpReturnValue %one";
    let arguments = ["--target-env", "spv1.3", "-", "-o", "-"];
    let Some(bytes) = run("spirv-as", &arguments, assembly(blocks).as_bytes()) else { return };
    let words = to_words(&bytes.expect("it can be assembled"));
    let error = rewrite(&words, &variants()[0]).expect_err("its loop cannot be left");
    assert!(error.to_string().contains("between the iterations"), "{error}");
}
