//! Kernels of every kind of access, compiled by glslang.

use super::forms::variants;
use super::proved::relying;
use super::tools::{compile, optimise, validate};
use crate::contract::analysis::{AccessKind, Analysis, Check};
use crate::contract::error::RewriteError;
use crate::program::Program;

pub(crate) const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_EXT_shader_atomic_int64 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
layout(local_size_x = 8) in;
";

/// Compiles a kernel, and checks that every form of it is valid. Returns its analysis.
pub(crate) fn check(body: &str) -> Option<Analysis> {
    let mut analysis = None;
    for target in ["vulkan1.1", "vulkan1.2", "vulkan1.3"] {
        let words = compile(&format!("{HEAD}{body}"), target, &[])?;
        for words in [optimise(&words, target)?, words] {
            let program = Program::parse(&words, None);
            let program = program.unwrap_or_else(|error| panic!("{error}\n{body}"));
            for variant in variants().into_iter().chain(relying()) {
                let words = program.rewrite(&variant).expect("the kernel is small");
                validate(&words, &format!("{target} {variant:?} of {body}"));
            }
            analysis = Some(program.analysis().clone());
        }
    }
    analysis
}

/// The reason for which a kernel is refused.
fn refusal(body: &str, options: &[&str]) -> Option<(String, Option<u32>)> {
    let words = compile(&format!("{HEAD}{body}"), "vulkan1.2", options)?;
    match Program::parse(&words, None) {
        Err(RewriteError::Refused { instruction, line, reason, .. }) => {
            Some((format!("{instruction}: {reason}"), line.map(|line| line.line)))
        }
        other => panic!("{:?}", other.map(|program| program.analysis().clone())),
    }
}

#[test]
fn composites_are_taken_apart() {
    let body = "
        struct Inner { vec3 a; double b; uint16_t c; };
        struct Whole { mat4 m; mat3x2 n; Inner i[3]; uvec2 p; };
        layout(buffer_reference, scalar, buffer_reference_align = 8) buffer W { Whole at[]; };
        layout(buffer_reference, std430, row_major) buffer M { mat3 at[]; };
        layout(push_constant) uniform Push { W a; W b; M m; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            b.at[i] = a.at[i + 1];
            b.at[i].m = transpose(a.at[i].m);
            b.at[i].i[1] = a.at[i].i[2];
            m.at[i] = m.at[i] * 2.0;
            m.at[0][1] = vec3(1);
            m.at[0][1].y = 2.0;
        }";
    let Some(analysis) = check(body) else { return };
    assert!(analysis.is_roots_only(), "{analysis:#?}");
    assert_eq!(analysis.roots.len(), 3);
    assert!(!analysis.effects.overwrites);
}

#[test]
fn what_has_64_bits_and_is_aligned_to_32_is_accessed_in_words() {
    let body = "
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Node;
        struct Mixed { double d; uint a, b; u64vec3 v; };
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Node {
            Node next; uint64_t value; int64_t other; Mixed mixed; f64vec2 last;
        };
        layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer C {
            uint64_t at[];
        };
        layout(push_constant) uniform Push { Node head; C c; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            Node n = head.next.next;
            n.value = head.value + uint64_t(n.other);
            n.next = head;
            n.last *= 2.0lf;
            n.mixed = head.mixed;
            c.at[i] += C(n.value).at[0];
        }";
    let Some(analysis) = check(body) else { return };
    assert!(
        analysis.index_checks.iter().any(|check| (check.size_bytes, check.align_bytes) == (8, 4))
    );
    assert!(
        analysis.address_checks.iter().any(|check| (check.size_bytes, check.align_bytes) == (8, 4))
    );
}

#[test]
fn lists_trees_and_tables_of_pointers_are_followed() {
    let body = "
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            Node next; uint value; uint others; Node child[4];
        };
        layout(push_constant) uniform Push { Node head; uvec2 out_; uint64_t raw; };
        uint follow(Node n, uint depth) {
            uint sum = 0;
            for (uint i = 0; i < depth; i++) { sum += n.value; n = n.child[i & 3]; }
            return sum;
        }
        void main() {
            Node n = head;
            Node other = Node(raw + 64ul);
            uint sum = 0;
            while (uint64_t(n) != 0ul && sum < 100) {
                sum += follow(n, 3);
                n = n.value > 3 ? n.next : other;
            }
            Node pick = sum > 7 ? n : head;
            pick.child[1] = n;
            Node(out_).value = sum;
            atomicAdd(Node(out_).others, sum);
        }";
    let Some(analysis) = check(body) else { return };
    assert!(!analysis.is_roots_only());
    assert!(analysis.int64);
    assert!(analysis.effects.atomics);
    let mut atomics = analysis.sites.iter().filter(|site| site.access == AccessKind::Atomic);
    assert!(atomics.all(|site| matches!(site.check, Check::Index(_))));
}

#[test]
fn atomics_coherence_and_volatility_are_kept() {
    for model in [
        "",
        "#pragma use_vulkan_memory_model\n#extension GL_KHR_memory_scope_semantics : require\n",
    ] {
        let body = format!(
            "{model}
            layout(buffer_reference, std430) coherent buffer C {{ uint count; uint at[]; }};
            layout(buffer_reference, std430) volatile buffer V {{ uvec4 at[]; }};
            layout(buffer_reference, std430) buffer L {{ uint64_t at[]; }};
            layout(push_constant) uniform Push {{ C c; V v; L l; }};
            shared uint s[8];
            void main() {{
                uint i = gl_LocalInvocationIndex;
                s[i] = c.at[i];
                barrier();
                C other = C(l.at[i]);
                other.at[i] = s[7 - i];
                v.at[i] += uvec4(other.at[2]);
                V(l.at[3]).at[i].y = 4;
                atomicMax(l.at[i], 5ul);
                atomicCompSwap(other.count, 1, 2);
                c.count = subgroupAdd(i);
            }}"
        );
        let Some(analysis) = check(&body) else { return };
        assert!(analysis.effects.barriers && analysis.effects.subgroups);
    }
}

#[test]
fn arguments_are_followed_into_functions() {
    let body = "
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer B { uint at[]; };
        layout(push_constant) uniform Push { B a; B b; uvec2 c; };
        uint get(B from, uint i) { return from.at[i]; }
        uint any(B from, uint i) { return from.at[i + 1]; }
        void put(uvec2 to, uint i, uint x) { B(to).at[i] = x; }
        void main() {
            uint i = gl_GlobalInvocationID.x;
            uvec2 to = c;
            put(to, i, get(a, i) + get(a, i + 2) + any(a, i) + any(b, i));
        }";
    let words = ["vulkan1.2"].map(|target| compile(&format!("{HEAD}{body}"), target, &[]));
    let [Some(words)] = words else { return };
    let program = Program::parse(&words, None).expect("it can be rewritten");
    let mut sites = program.analysis().sites.iter();
    assert!(sites.any(|site| matches!(site.check, Check::Address(_))), "of two arguments");
    let by_index = program.analysis().sites.iter().filter(|s| matches!(s.check, Check::Index(_)));
    assert_eq!(by_index.count(), 2);
    // Inlined, every pointer is one argument.
    assert!(check(body).is_some());
}

#[test]
fn bound_buffers_are_left_alone() {
    let body = "
        layout(buffer_reference, std430) buffer B { uint at[]; };
        layout(set = 0, binding = 3) buffer S { uint x[]; };
        layout(set = 2, binding = 0) uniform U { B p; };
        void main() { x[0] = p.at[x[1]]; }";
    let Some(analysis) = check(body) else { return };
    assert_eq!(analysis.control_set, 1);
    assert_eq!(analysis.sites.len(), 1);
    assert!(!analysis.is_roots_only());
    assert!(analysis.effects.writes && !analysis.effects.overwrites);
}

#[test]
fn what_only_depends_on_arguments_overwrites() {
    let body = |value: &str, index: &str| {
        format!(
            "layout(buffer_reference, std430, buffer_reference_align = 4) buffer B {{ uint at[]; }};
            layout(push_constant) uniform Push {{ B a; B b; uint n; }};
            void main() {{
                uint i = gl_GlobalInvocationID.x;
                uint x = {value};
                if (i < n) b.at[{index}] = x;
            }}"
        )
    };
    let cases = [
        ("a.at[i]", "i", true),
        ("a.at[i]", "i * 3 + n", true),
        ("a.at[i]", "x", false),
        ("b.at[i]", "i", false),
        ("a.at[i] > 3 ? 1 : 2", "i", true),
        ("0; for (uint k = 0; k < a.at[i]; k++) x += k", "i", false),
    ];
    for (value, index, expected) in cases {
        let Some(analysis) = check(&body(value, index)) else { return };
        assert_eq!(analysis.effects.overwrites, expected, "{value} {index}");
    }
}

#[test]
fn refusals_name_instruction_line_and_reason() {
    let body = "
        layout(buffer_reference, std430, buffer_reference_align = 2) buffer B { uint64_t at[]; };
        layout(push_constant) uniform Push { B a; };
        void main() { a.at[1] = 1ul; }";
    for option in ["-g", "-gV"] {
        let Some((reason, line)) = refusal(body, &[option]) else { return };
        assert!(reason.starts_with("OpStore: its alignment is less"), "{reason}");
        assert_eq!(line, Some(13), "{option}");
    }
    let big = "
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer B { uint at[4000]; };
        layout(push_constant) uniform Push { B a; };
        void main() { uint copy[4000] = a.at; a.at[1] = copy[int(gl_LocalInvocationIndex)]; }";
    let Some((reason, _)) = refusal(big, &[]) else { return };
    assert!(reason.contains("too many numbers"), "{reason}");
}

#[test]
fn lines_of_sites_are_known() {
    let body = "
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer B { uint at[]; };
        layout(push_constant) uniform Push { B a; };
        void main() {
            a.at[1] =
                a.at[2];
        }";
    for option in ["-g", "-gVS"] {
        let Some(words) = compile(&format!("{HEAD}{body}"), "vulkan1.2", &[option]) else { return };
        let program = Program::parse(&words, None).expect("it can be rewritten");
        let lines: Vec<_> = program
            .analysis()
            .sites
            .iter()
            .map(|site| (site.access, site.line.as_ref().map(|line| line.line)))
            .collect();
        assert!(lines.iter().all(|(_, line)| matches!(line, Some(14 | 15))), "{option} {lines:?}");
        for variant in variants().into_iter().step_by(5) {
            validate(&program.rewrite(&variant).expect("it is small"), option);
        }
    }
}

#[test]
fn indices_into_the_kernels_own_arrays_are_checked() {
    let body = "
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x; uint n; uint k[4]; } push;
        shared uint pool[8];
        void main() {
            uint own[7];
            uint i = gl_GlobalInvocationID.x;
            for (int j = 0; j < 7; j++) own[j] = j * i + push.k[i & 7u]; // two
            vec4 v = vec4(1, 2, 3, 4);
            mat3 m = mat3(1);
            pool[i] = own[i % 9u]; // two
            barrier();
            v[i & 7u] = 3.0; // one
            m[i][i & 3u] = 2.0; // two
            U(push.x).at[i] = pool[7u - i] + uint(v[i >> 3]) + uint(m[1][1]); // two
        }";
    let Some(analysis) = check(body) else { return };
    let own = analysis.sites.iter().filter(|site| site.check == Check::Own).count();
    assert_eq!((own, analysis.sites.len()), (9, 10));
}

#[test]
fn constant_indices_into_own_arrays_are_checked_unless_they_fit() {
    let body = "
        layout(constant_id = 0) const uint length = 5;
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x; } push;
        void main() {
            uint own[7];
            uint special[length];
            uint i = gl_GlobalInvocationID[2];
            own[6] = i;
            special[4] = own[6];
            U(push.x).at[i] = special[i] + gl_WorkGroupID[i]; // one, two
        }";
    let Some(analysis) = check(body) else { return };
    let own = analysis.sites.iter().filter(|site| site.check == Check::Own).count();
    assert_eq!((own, analysis.sites.len()), (2, 3));
}
