//! Small kernels, each with one thing that an analysis gets wrong, or loses, as glslang and
//! SPIRV-Tools write them.

use crate::Program;
use crate::footprint::result::{Footprint, SiteReach};
use crate::tests::tools::{compile, optimise};

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(push_constant) uniform P { uvec2 b; uvec2 a; uint n; uint w; int s; uint k; uint64_t q; } p;
shared uint pool[64];
";

/// Three workgroups of 64 in a line, n = 100, w = 10, s = 20, k = 5, q = 12.
fn push() -> Vec<u8> {
    let words = [0x1000, 1, 0x9000, 1, 100, 10, 20, 5, 12, 0];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

/// Which elements of `b` are written, from the first to behind the last, and how often the starts
/// of all loops run. `None` where that is not known.
type Known = (Option<(i64, i64)>, Option<u64>);

/// The footprint of a kernel as glslang writes it, and as spirv-opt does.
fn footprints(code: &str) -> Option<[Footprint; 2]> {
    let glsl = format!("{HEAD}{code}");
    let words = compile(&glsl, "vulkan1.2", &[])?;
    let optimised = optimise(&words, "vulkan1.2")?;
    Some([words, optimised].map(|words| {
        let program = Program::parse(&words, None).unwrap_or_else(|why| panic!("{why}\n{glsl}"));
        program.footprints().of_launch(&push(), [3, 1, 1])
    }))
}

fn known(footprint: &Footprint) -> Known {
    let is_known = footprint.sites.iter().all(SiteReach::is_known);
    let writes = footprint.roots.iter().find_map(|root| {
        let of = root.root;
        let crate::Root::Push { offset_bytes } = of;
        root.writes.filter(|_| offset_bytes == 0)
    });
    let elements = writes.map(|(start, end)| (start / 4, end / 4));
    (elements.filter(|_| is_known), footprint.loop_runs)
}

/// Main functions whose index `g` is that of the invocation; what is known of them, unoptimised
/// and optimised.
fn check(cases: &[(&str, Known)]) {
    let mut wrong = Vec::new();
    for (code, expected) in cases {
        let main = code.find("void main").is_none();
        let start = "void main() { uint g = gl_GlobalInvocationID.x;";
        let code = if main { format!("{start} {code} }}") } else { (*code).to_owned() };
        let code = code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d[");
        let Some(found) = footprints(&code) else { return };
        let found = found.each_ref().map(known);
        if found != [*expected; 2] {
            wrong.push(format!("{found:?} instead of {expected:?}:\n{code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn guards_bound_indices() {
    let up_to = |end: i64| (Some((0, end)), Some(0));
    check(&[
        ("b[g] = 1;", up_to(192)),
        ("if (g >= p.n) return; b[g] = 1;", up_to(100)),
        ("if (g < p.n && g < p.k) b[g] = 1;", up_to(5)),
        ("if (g >= p.n || g >= p.k) return; b[g] = 1;", up_to(5)),
        ("if (g < p.n) if (g != 99u) b[g] = 1;", up_to(99)),
        ("bool inside = g < p.n; barrier(); if (inside) b[g] = 1;", up_to(100)),
        ("int i = int(g); if (i >= p.s) return; b[i] = 1;", up_to(20)),
        ("int i = int(g) - 32; if (i < 0 || i >= p.s) return; b[i] = 1;", up_to(20)),
        ("if (g + 1u < p.n) b[g + 1u] = a[g];", (Some((1, 100)), Some(0))),
        ("if (g > 0u && g < p.n) b[g - 1u] = 1;", up_to(99)),
        ("if (g - 1u < p.n) b[g - 1u] = 1;", up_to(100)),
        ("uint i = g * 4u; if (i + 3u < p.n) b[i + 3u] = 1;", (Some((3, 100)), Some(0))),
        ("if (uint64_t(g) < p.q) b[g] = 1;", up_to(12)),
        ("uint8_t c = uint8_t(g); b[uint(c)] = 1;", up_to(192)),
        ("uint8_t c = uint8_t(g + 100u); b[uint(c)] = 1;", up_to(256)),
    ]);
}

#[test]
fn expressions_bound_indices() {
    let up_to = |end: i64| (Some((0, end)), Some(0));
    check(&[
        ("uint i = g < p.n ? g : p.n - 1u; b[i] = 1;", up_to(100)),
        ("b[min(g, p.n - 1u)] = 1;", up_to(100)),
        ("b[clamp(int(g) - 5, 0, p.s)] = 1;", up_to(21)),
        ("b[min(a[0], p.n - 1u)] = 1;", up_to(100)),
        ("b[a[1] & 63u] = 1;", up_to(64)),
        ("b[a[1] % 10u] = 1;", up_to(10)),
        ("b[a[1] >> 28] = 1;", up_to(16)),
        ("uint y = g / p.w, x = g - y * p.w; if (y < p.k) b[y * p.w + x] = 1;", up_to(50)),
        ("uint y = g / p.w, x = g % p.w; if (y < p.k) b[y * p.w + x] = 1;", up_to(50)),
        (
            "uint i = g + gl_GlobalInvocationID.y * (gl_NumWorkGroups.x * 64u);
          if (i >= p.n) return; b[i] = 1;",
            up_to(100),
        ),
        (
            "uint x = g % p.w, y = g / p.w;
          if (x == 0u || y == 0u || x >= p.w - 1u || y >= p.w - 1u) return;
          b[y * p.w + x] = a[(y - 1u) * p.w + x];",
            (Some((11, 89)), Some(0)),
        ),
        (
            "uint o; switch (g % 4u) { case 0u: o = 1u; break; case 1u: o = 5u; break;
          default: o = 9u; } if (g < p.n) b[g * 16u + o] = 1;",
            (Some((1, 1594)), Some(0)),
        ),
        ("b[gl_WorkGroupID.x * 64u + gl_LocalInvocationIndex] = 1;", up_to(192)),
        // The compiler's own way to a member.
        ("uint t[4] = uint[](3u, 1u, 2u, 9u); b[t[2]] = 1;", (Some((2, 3)), Some(0))),
    ]);
}

#[test]
fn functions_are_taken_apart() {
    let up_to = |end: i64| (Some((0, end)), Some(0));
    let main = "void main() { uint g = gl_GlobalInvocationID.x;";
    let with = |head: &str, body: &str| format!("{head} {main} {body} }}");
    let cases = [
        with(
            "bool ok(uint i) { if (i >= p.n) return false; if (i == 3u) return false;
            return true; }",
            "if (!ok(g)) return; b[g] = 1;",
        ),
        with(
            "uint f(uint i) { if (i >= p.n) return 0u; return a[i]; }",
            "uint v = f(g); b[g % p.n] = v;",
        ),
        with("void f(inout uint i) { i = i % p.n; }", "uint i = g; f(i); b[i] = 1;"),
        with("void f(out uint i) { i = 99u; }", "uint i = 7u; f(i); if (g < i + 1u) b[g] = 1;"),
    ];
    for code in &cases {
        let Some(found) = footprints(&code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d["))
        else {
            return;
        };
        for found in found.each_ref().map(known) {
            assert_eq!(found.0, up_to(100).0, "{code}");
        }
    }
}

#[test]
fn loops_end_and_bound_indices() {
    let within = |start: i64, end: i64, runs: u64| (Some((start, end)), Some(runs));
    check(&[
        ("for (uint i = 0u; i < p.n; i++) b[i] = g;", within(0, 100, 101)),
        ("for (uint i = 0u; i <= p.n; i++) b[i] = g;", within(0, 101, 102)),
        ("for (int i = p.s - 1; i >= 0; --i) b[i] = g;", within(0, 20, 21)),
        ("for (uint i = p.n; i-- > 0u;) b[i] = g;", within(0, 100, 101)),
        ("for (uint i = g; i < p.n; i += gl_NumWorkGroups.x * 64u) b[i] = 1;", within(0, 100, 2)),
        (
            "uint i = g; do { b[i] = 1; i += 64u * gl_NumWorkGroups.x; } while (i < p.n);",
            within(0, 192, 1),
        ),
        ("uint i = 0u; do { b[i] = 1; i++; } while (i < p.n);", within(0, 100, 100)),
        (
            "for (uint h = 32u; h > 0u; h >>= 1u) {
            uint l = gl_LocalInvocationIndex;
            if (l < h) b[gl_WorkGroupID.x * 64u + l + h] = 1;
            barrier(); }",
            within(1, 192, 7),
        ),
        (
            "for (uint i = 0u; i < p.n; i++) { if ((i & 1u) == 0u) continue; b[i] = g; }",
            within(0, 100, 101),
        ),
        ("for (uint i = 0u; i < p.n; i++) { if (i >= p.k) break; b[i] = g; }", within(0, 5, 6)),
        (
            "uint j = g; for (uint i = 0u; i < p.w; i++) { b[j] = i; j += p.n; }",
            within(0, 1192, 11),
        ),
        (
            "for (uint y = 0u; y < p.w; y++) for (uint x = 0u; x < p.k; x++) b[y * p.k + x] = g;",
            within(0, 50, 11 + 11 * 6),
        ),
        (
            "for (uint i = 0u; i < p.n; i++)
            for (uint j = 0u; j < i; j++) b[i * (i - 1u) / 2u + j] = 1;",
            within(0, 99 * 98 / 2 + 99, 101 + 101 * 100),
        ),
    ]);
}

#[test]
fn runs_of_doubling_loops_are_bounded_by_their_bits() {
    let code = "for (uint h = 1u; h < p.n; h *= 2u) U(p.b).d[h] = 1;";
    let Some(found) = footprints(&format!("void main() {{ {code} }}")) else { return };
    for found in found.each_ref().map(known) {
        assert_eq!(found, (Some((1, 100)), Some(33)));
    }
}

#[test]
fn what_is_not_known_is_not_guessed() {
    check(&[
        ("b[a[g]] = 1;", (None, Some(0))),
        // Memory may be another one when it is read again.
        ("uint i = a[g]; if (i < p.n) b[i] = 1;", (None, Some(0))),
        ("b[uint(float(g) * 0.5)] = 1;", (None, Some(0))),
        ("uint o; if (g < p.n) o = 3u; b[o] = 1;", (None, Some(0))),
        ("pool[g & 63u] = g; barrier(); b[pool[63u - (g & 63u)]] = 1;", (None, Some(0))),
        ("b[g - 1u] = 1;", (None, Some(0))),
        ("b[int(g) - 1] = 1;", (None, Some(0))),
        ("b[g * 0x40000000u] = 1;", (None, Some(0))),
        ("b[1u << g] = 1;", (None, Some(0))),
        ("for (uint i = 0u; i != p.n; i++) b[i] = g;", (None, None)),
        ("for (uint i = 0u; i < a[g]; i++) b[i & 3u] = g;", (Some((0, 4)), Some(1 << 32))),
        (
            "for (uint i = 0u; i < p.n; i++) for (uint j = 0u; j <= i; j++) b[i - j] = 1;",
            (None, Some(101 + 101 * 101)),
        ),
        (
            "uint lo = 0u, hi = p.n; while (lo < hi) { uint m = (lo + hi) / 2u;
          if (a[0] < g) lo = m + 1u; else hi = m; } b[min(lo, p.n)] = 1;",
            (Some((0, 101)), None),
        ),
    ]);
}

#[test]
fn what_is_not_defined_makes_all_of_the_launch_unknown() {
    for code in [
        "uint i = g / a[1]; U(p.b).d[0] = i;",
        "uint i = g % (p.k - 5u); U(p.b).d[0] = i;",
        "int i = int(g) / (p.s - 21); if (i == 7) U(p.b).d[0] = 1; U(p.b).d[int(a[0]) / -1] = 2;",
        "uint o; if (g == 1000u) o = 3u; if (o < 5u) U(p.b).d[0] = 1;",
        "if ((1u << g) < 5u) U(p.b).d[0] = 1;",
    ] {
        let code = code.replace("a[", "U(p.a).d[");
        let main = format!("void main() {{ uint g = gl_GlobalInvocationID.x; {code} }}");
        let Some(found) = footprints(&main) else { return };
        // Where an optimiser has chosen a value, it is what the words say.
        assert!(found[0].unknown.is_some(), "{code}\n{:#?}", found[0]);
    }
}

#[test]
fn indices_into_own_variables_are_known_or_not() {
    for (code, expected) in [
        ("uint t[4]; t[g & 3u] = 1u; U(p.b).d[0] = t[g & 3u];", true),
        ("uint t[4]; t[g & 7u] = 1u; U(p.b).d[0] = t[g & 3u];", false),
        ("pool[gl_LocalInvocationIndex] = g; barrier(); U(p.b).d[0] = pool[0];", true),
        ("pool[g] = g; barrier(); U(p.b).d[0] = pool[0];", false),
    ] {
        let main = format!("void main() {{ uint g = gl_GlobalInvocationID.x; {code} }}");
        let Some(found) = footprints(&main) else { return };
        for found in found {
            assert_eq!(found.is_bounded(), expected, "{code}\n{found:#?}");
        }
    }
}
