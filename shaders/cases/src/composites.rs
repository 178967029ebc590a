//! Loads and stores of vectors, matrices, structures and arrays.

use crate::case::{Buffer, Case, random};

cases! {
    ($) each_of_composites:
    vector_2, vector_3_packed, vector_3_padded, vector_4, vector_by_component, vector_swizzle,
    vector_less_aligned, matrix_4, matrix_3_packed, matrix_row_major, matrix_column,
    matrix_row_major_by_address, matrix_column_major_by_address,
    structure_by_value, structure_nested, structure_with_arrays, structure_member_dynamic,
    array_by_value, array_of_arrays, structure_across_pages,
}

/// Words of each lend: two pages and a bit.
const N: usize = 2304;

fn pair(source: &'static str, groups: u32) -> Case {
    Case::glsl(source).lend(Buffer::random(20, N)).lend(Buffer::zeroes(N).writable()).groups(groups)
}

fn float_pair(source: &'static str, groups: u32) -> Case {
    Case::glsl(source).lend(Buffer::ramp(N)).lend(Buffer::ramp(N).writable()).groups(groups)
}

fn vector_2() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, V, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID] = V(x).at[ID].yx + uvec2(1u, ID); }";
    pair(source, 18).oracle(|image| {
        let x = image.words(0);
        let of = |(id, pair): (u32, &[u32])| [pair[1].wrapping_add(1), pair[0].wrapping_add(id)];
        let y: Vec<u32> = (0..).zip(x.chunks(2)).flat_map(of).collect();
        image.set_words(1, &y);
    })
}

/// Twelve bytes to a vector: some straddle a page.
fn vector_3_packed() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(vec3, V, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID] += V(x).at[ID].zxy * 2.0; }";
    float_pair(source, 12).oracle(|image| {
        let (x, mut y) = (image.floats(0), image.floats(1));
        for (x, y) in x.chunks(3).zip(y.chunks_mut(3)) {
            for (component, from) in [2, 0, 1].into_iter().enumerate() {
                y[component] += x[from] * 2.0;
            }
        }
        image.set_floats(1, &y);
    })
}

/// Sixteen bytes to a vector of twelve: the padding is not touched.
fn vector_3_padded() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 16) buffer V { ivec3 at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID] = V(x).at[ID] - V(x).at[ID].x; }";
    pair(source, 9)
}

fn vector_4() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(vec4, V, 16);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID] += 3.0 * V(x).at[ID].wzyx; }";
    float_pair(source, 9)
}

/// A component chosen at run time, read and written alone.
fn vector_by_component() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec4, V, 16);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint c = V(x).at[ID].x & 3u;
            V(y).at[ID][c] = V(x).at[ID][(c + 1u) & 3u];
            V(y).at[ID][(c + 2u) & 3u] += ID;
        }";
    pair(source, 9).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, (x, y)) in (0u32..).zip(x.chunks(4).zip(y.chunks_mut(4))) {
            let c = x[0] as usize & 3;
            y[c] = x[(c + 1) & 3];
            y[(c + 2) & 3] = y[(c + 2) & 3].wrapping_add(id);
        }
        image.set_words(1, &y);
    })
}

fn vector_swizzle() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec4, V, 16);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID].xw = V(x).at[ID].zz; V(y).at[ID].y |= 5u; }";
    pair(source, 9)
}

/// Vectors whose address is a multiple of less than their size.
fn vector_less_aligned() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec4, V4, 4);
        REF(uvec2, V2, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uvec4 v = V4(x).at[ID];
            V2(y).at[2u * ID] = v.zw;
            V4(y).at[ID].zw = v.xy + 1u;
        }";
    Case::glsl(source)
        .lend(Buffer::random(21, N).skew(4))
        .lend(Buffer::zeroes(N).writable().skew(12))
        .groups(9)
}

fn matrix_4() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        REF(mat4, M, 16);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { M(y).at[ID] = transpose(M(x).at[ID]) + M(y).at[ID]; }";
    float_pair(source, 4)
}

/// Thirty-six bytes to a matrix.
fn matrix_3_packed() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        REF(mat3, M, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { M(y).at[ID] = transpose(M(x).at[ID]); }";
    float_pair(source, 8).oracle(|image| {
        let (x, mut y) = (image.floats(0), image.floats(1));
        for (x, y) in x.chunks(9).zip(y.chunks_mut(9)) {
            for k in 0..9 {
                y[k] = x[k % 3 * 3 + k / 3];
            }
        }
        image.set_floats(1, &y);
    })
}

/// Rows are contiguous in memory, columns are not.
fn matrix_row_major() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Pair { mat2x3 a; uint k; };
        layout(buffer_reference, scalar, row_major, buffer_reference_align = 4)
            buffer M { Pair at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            mat2x3 a = M(x).at[ID].a;
            M(y).at[ID].a = mat2x3(a[1], a[0]);
            M(y).at[ID].a[1].y = 7.0;
            M(y).at[ID].k = ID;
        }";
    float_pair(source, 10)
}

fn matrix_column() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        REF(mat4x2, M, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint c = ID & 3u;
            M(y).at[ID][c] = M(x).at[ID][3u - c];
            M(y).at[ID][(c + 1u) & 3u][ID & 1u] = 9.0;
        }";
    float_pair(source, 9)
}

/// A whole matrix, an array of matrices, and columns, through a pointer that is no argument. Only
/// the decorations of the member say where the numbers are.
fn matrix_row_major_by_address() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Pair { uint k; mat2x3 a[2]; };
        layout(buffer_reference, scalar, row_major, buffer_reference_align = 4)
            buffer M { Pair at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uvec2 from = x;
            uvec2 to = y;
            if (ID > 1000u) { from = y; to = x; }
            mat2x3 all[2] = M(from).at[ID].a;
            mat2x3 one = M(from).at[ID].a[ID & 1u];
            M(to).at[ID].a[0] = mat2x3(one[1], M(from).at[ID + 1u].a[1][0]);
            M(to).at[ID].a[1][1] = all[1][0] + one[0];
            M(to).at[ID].a[1][0].z = all[0][1].y;
        }";
    float_pair(source, 5)
}

/// As above, by columns.
fn matrix_column_major_by_address() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Pair { uint k; mat2x3 a[2]; };
        layout(buffer_reference, scalar, column_major, buffer_reference_align = 4)
            buffer M { Pair at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uvec2 from = x;
            uvec2 to = y;
            if (ID > 1000u) { from = y; to = x; }
            mat2x3 all[2] = M(from).at[ID].a;
            mat2x3 one = M(from).at[ID].a[ID & 1u];
            M(to).at[ID].a[0] = mat2x3(one[1], M(from).at[ID + 1u].a[1][0]);
            M(to).at[ID].a[1][1] = all[1][0] + one[0];
            M(to).at[ID].a[1][0].z = all[0][1].y;
        }";
    float_pair(source, 5)
}

fn structure_by_value() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Part { uint a; float b; uvec2 c; vec3 d; };
        REF(Part, P, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            Part p = P(x).at[ID];
            p.a += 1u;
            p.c = p.c.yx;
            P(y).at[ID] = p;
        }";
    float_pair(source, 10).oracle(|image| {
        let mut y = image.words(1);
        for (x, y) in image.words(0).chunks(7).zip(y.chunks_mut(7)).take(320) {
            y.copy_from_slice(&[x[0].wrapping_add(1), x[1], x[3], x[2], x[4], x[5], x[6]]);
        }
        image.set_words(1, &y);
    })
}

fn structure_nested() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Inner { uvec2 a; uint b; };
        struct Middle { Inner i[2]; uint c; };
        struct Outer { uint d; Middle m; Inner last; };
        REF(Outer, O, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            Outer o = O(x).at[ID];
            O(y).at[ID].m = o.m;
            O(y).at[ID].last = O(x).at[ID].m.i[ID & 1u];
            O(y).at[ID].m.i[1] = o.last;
            O(y).at[ID].d = o.m.c ^ o.d;
        }";
    pair(source, 6)
}

fn structure_with_arrays() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Rows { uint n; uint at[5]; vec2 p[2]; };
        REF(Rows, R, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            Rows r = R(x).at[ID];
            uint sum = 0u;
            for (uint k = 0u; k < 5u; k++) sum += r.at[k];
            r.n = sum;
            r.p[0] = vec2(ID, 1.0);
            R(y).at[ID] = r;
        }";
    pair(source, 7).oracle(|image| {
        let mut y = image.words(1);
        for (id, (x, y)) in (0u16..).zip(image.words(0).chunks(10).zip(y.chunks_mut(10))).take(224)
        {
            y.copy_from_slice(x);
            y[0] = x[1..6].iter().fold(0, |sum, x| sum.wrapping_add(*x));
            y[6] = f32::from(id).to_bits();
            y[7] = 1f32.to_bits();
        }
        image.set_words(1, &y);
    })
}

/// Two indices that are not constant, a member between them.
fn structure_member_dynamic() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Row { uint n; uint at[6]; uint z; };
        REF(Row, R, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint k = R(x).at[ID].n % 6u;
            R(y).at[287u - ID].at[k] = R(x).at[ID].at[5u - k];
        }";
    pair(source, 9).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for id in 0..288 {
            let k = x[id * 8] as usize % 6;
            y[(287 - id) * 8 + 1 + k] = x[id * 8 + 6 - k];
        }
        image.set_words(1, &y);
    })
}

fn array_by_value() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer A { uint at[4][3]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint a[4][3] = A(x + uvec2(48u * ID, 0u)).at;
            a[2] = a[0];
            a[3][1] = ID;
            A(y + uvec2(48u * ID, 0u)).at = a;
        }";
    pair(source, 6)
}

fn array_of_arrays() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer A { uint at[48][48]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            for (uint k = 0u; k < 48u; k++)
                if (ID < 48u) A(y).at[ID][k] = A(x).at[k][47u - ID];
        }";
    pair(source, 2).oracle(|image| {
        let x = image.words(0);
        let y: Vec<u32> = (0..48 * 48).map(|at| x[at % 48 * 48 + 47 - at / 48]).collect();
        image.set_words(1, &y);
    })
}

/// A structure longer than a page, copied whole.
fn structure_across_pages() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Large { uvec4 head; uint at[300]; vec3 tail; uint end; };
        REF(Large, L, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { if (ID < 4u) L(y).at[ID] = L(x).at[3u - ID]; }";
    let words = 308 * 4;
    Case::glsl(source)
        .lend(Buffer::words(&random(22, words)).skew(4))
        .lend(Buffer::zeroes(words).writable().skew(8))
        .oracle(|image| {
            let y: Vec<u32> = image.words(0).chunks(308).rev().flatten().copied().collect();
            image.set_words(1, &y);
        })
}
