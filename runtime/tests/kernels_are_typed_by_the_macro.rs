//! Kernels of one's own by `farptr::kernel!`: each form of the macro makes one that runs, with each
//! type of argument, however the device reaches memory.
//!
//! # Safety
//!
//! The words in SPIR-V come from shaderc and spirv-as, and tests compare them with their sources.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/ways.rs"]
mod ways;

use bytemuck::{NoUninit, Pod, Zeroable};
use farptr::{Error, Grid, KernelDesc, KernelError, LaunchError, Runtime};
use farptr_kernel_cases::devices::has_pointer_values;
use ways::ways;

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Limits {
    low: f32,
    place: [u32; 2],
    range: Range,
}

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Range {
    start: i32,
    end: u32,
}

farptr::kernel! {
    /// Writes the bits of each argument.
    mod values,
    path: "tests/typed/values.comp",
    include: ["tests/typed/include"],
    args: { is_on: bool, limits: Limits },
}

farptr::kernel! {
    #[allow(unsafe_code, reason = "words that a driver trusts; the proof is above")]
    mod add,
    // SAFETY: shaderc made the words, as a test below shows.
    unsafe spv: "tests/typed/add.spv",
}

farptr::kernel! {
    #[allow(unsafe_code, reason = "as `add`")]
    mod shift,
    // SAFETY: spirv-as made the words, as a test below shows, and spirv-val accepts them.
    unsafe spv: "tests/typed/entries.spv",
    entry: "shift",
}

farptr::kernel! {
    #[allow(unsafe_code, reason = "as `add`")]
    mod turn,
    // SAFETY: as `shift`.
    unsafe spv: "tests/typed/entries.spv",
    entry: "turn",
}

farptr::kernel! {
    /// Writes 5.
    #[allow(unsafe_code, reason = "as `add`")]
    mod five,
    // SAFETY: they are those of `typed/five.spvasm`, as a test below shows; spirv-val accepts them.
    unsafe words: [
        0x7230203, 66816, 0x70000, 17, 0, 0x20011, 1, 0x20011, 5347, 0x3000e, 5348, 1,
        0x6000f, 5, 1, 0x6e69616d, 0, 2, 0x60010, 1, 17, 1, 1, 1, 0x40006, 3, 0, 121, 0x50048,
        3, 0, 35, 0, 0x30047, 3, 2, 0x20013, 4, 0x30021, 5, 4, 0x40015, 6, 32, 0, 0x40017, 7,
        6, 2, 0x4002b, 6, 8, 0, 0x4002b, 6, 9, 5, 0x40020, 10, 5349, 6, 0x3001e, 3, 7,
        0x40020, 11, 9, 3, 0x40020, 12, 9, 7, 0x4003b, 11, 2, 9, 0x50036, 4, 1, 0, 5, 0x200f8,
        13, 0x50041, 12, 14, 2, 8, 0x4003d, 7, 15, 14, 0x4007c, 10, 16, 15, 0x5003e, 16, 9, 2,
        4, 65789, 65592,
    ],
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Node {
    next: u64,
    value: u32,
    unused: u32,
}

farptr::kernel! {
    mod walk,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 1) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uvec2 next;
            uint value;
        };
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer Sum { uint sum; };
        layout(push_constant) uniform Push { uvec2 sum; uvec2 head; };
        void main() {
            uvec2 node = head;
            for (uint i = 0; i < ROUNDS && (node.x | node.y) != 0; i++) {
                Sum(sum).sum += Node(node).value;
                node = Node(node).next;
            }
        }
    "#,
    define: [("ROUNDS", "100")],
    args: { head: Option<Ptr<Node>> },
}

farptr::kernel! {
    mod nothing,
    source: "#version 460\nlayout(local_size_x = 8) in; void main() {}",
}

farptr::kernel! {
    mod small,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 1) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer I64 { int64_t at[]; };
        layout(push_constant, std430) uniform Push {
            uvec2 to;
            int64_t a;
            uint16_t b;
            int8_t c;
            uint8_t d;
            float16_t e;
        };
        void main() {
            I64(to).at[0] = a;
            I64(to).at[1] = int64_t(b);
            I64(to).at[2] = int64_t(c);
            I64(to).at[3] = int64_t(d);
            I64(to).at[4] = int64_t(float(e));
        }
    "#,
}

farptr::kernel! {
    mod references,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 64) in;
        struct Pair { uint a; uint b; };
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Pairs { Pair at[]; };
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Sums { uint at[]; };
        layout(push_constant) uniform Push { Pairs pairs; Sums sums; uint n; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i < n) sums.at[i] = pairs.at[i].a + pairs.at[i].b;
        }
    "#,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Pair {
    a: u32,
    b: u32,
}

fn every_value(runtime: &Runtime) -> Result<[u32; 23], Error> {
    let kernel = runtime.kernel::<values::Kernel>()?;
    let mut found = [0; 23];
    runtime.scope(|s| {
        let to = s.lend_mut(&mut found)?;
        let range = Range { start: -4, end: 5 };
        let args = values::Args {
            to: to.ptr(),
            is_on: true,
            r#type: -2,
            v: [1.0, 2.0, 3.0],
            rows: [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]],
            columns: [[7.0, 8.0], [9.0, 10.0]],
            limits: Limits { low: 0.5, place: [6, 7], range },
            list: [8, 9, 10],
        };
        Ok(s.launch(&kernel, Grid::groups(1, 1, 1), args)?)
    })?;
    Ok(found)
}

#[test]
fn each_type_of_argument_arrives() {
    let numbers = [1.0f32, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 0.5];
    let mut expected = vec![1, (-2i32).cast_unsigned()];
    expected.extend(numbers.map(f32::to_bits));
    expected.extend([6, 7, (-4i32).cast_unsigned(), 5, 8, 9, 10]);
    for (way, runtime) in ways() {
        let found = every_value(&runtime).unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(found[..], expected[..], "{way}");
    }
}

#[test]
fn spirv_is_typed_without_a_compiler() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<add::Kernel>().unwrap();
        let from: Vec<u32> = (0..5000).collect();
        let mut to = vec![1u32; 5000];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (from, to) = (s.lend(&from)?, s.lend_mut(&mut to)?);
            let args = add::Args { from: from.ptr(), to: to.ptr(), n: 5000, factor: 3 };
            Ok(s.launch(&kernel, Grid::cover(5000), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert!(to.iter().zip(0..).all(|(&to, i)| to == 1 + 3 * i), "{way}");
    }
}

#[test]
fn each_entry_point_of_a_module_is_typed_by_itself() {
    for (way, runtime) in ways() {
        let shift = runtime.kernel::<shift::Kernel>().unwrap();
        let turn = runtime.kernel::<turn::Kernel>().unwrap();
        let x: Vec<u32> = (0..6400).collect();
        let mut y = vec![0u32; 6400];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
            s.launch(&shift, Grid::cover(6400), shift::Args { x, y, n: 6400 })?;
            Ok(s.launch(&turn, Grid::cover(6400), turn::Args { y })?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        // `shift` leaves 3 i + i / 64 at i, and `turn` turns each 16 elements around.
        let from = |i: u32| i / 16 * 16 + 15 - i % 16;
        assert!(y.iter().zip(0..).all(|(&y, i)| y == 3 * from(i) + from(i) / 64), "{way}");
    }
}

#[test]
fn words_in_the_source_are_a_kernel() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<five::Kernel>().unwrap();
        let mut y = [0u32; 2];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let args = five::Args { y: s.lend_mut(&mut y)?.ptr() };
            Ok(s.launch(&kernel, Grid::cover(1), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(y, [5, 0], "{way}");
    }
}

#[test]
fn buffer_references_are_pointers_to_types_of_the_same_name() {
    for (way, runtime) in ways() {
        if !has_pointer_values(runtime.device_name()) {
            continue;
        }
        let kernel = runtime.kernel::<references::Kernel>().unwrap();
        let pairs: Vec<Pair> = (0..3000).map(|i| Pair { a: i, b: 2 * i }).collect();
        let mut sums = vec![0u32; 3000];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (pairs, sums) = (s.lend(&pairs)?, s.lend_mut(&mut sums)?);
            let args = references::Args { pairs: pairs.ptr(), sums: sums.ptr(), n: 3000 };
            Ok(s.launch(&kernel, Grid::cover(3000), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert!(sums.iter().zip(0..).all(|(&sum, i)| sum == 3 * i), "{way}");
    }
}

#[test]
fn nodes_behind_an_address_that_may_be_null_are_followed() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<walk::Kernel>().unwrap();
        let mut nodes = [Node { next: 0, value: 20, unused: 0 }; 2];
        nodes[0] = Node { next: (&raw const nodes[1]).addr() as u64, value: 1, unused: 0 };
        let mut sums = [0u32; 2];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (nodes, sums) = (s.lend(&nodes)?, s.lend_mut(&mut sums)?);
            let heads = [Some(nodes.ptr()), None];
            for (head, at) in heads.into_iter().zip(0..) {
                let args = walk::Args { sum: sums.ptr().add(at), head };
                s.launch(&kernel, Grid::groups(1, 1, 1), args)?;
            }
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(sums, [21, 0], "{way}");
    }
}

#[test]
fn a_kernel_without_arguments_takes_none() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<nothing::Kernel>().unwrap();
        let ran: Result<(), Error> =
            runtime.scope(|s| Ok(s.launch(&kernel, Grid::groups(1, 1, 1), ())?));
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
    }
}

#[test]
fn small_and_large_numbers_arrive_where_the_device_has_them() {
    for (way, runtime) in ways() {
        let kernel = match runtime.kernel::<small::Kernel>() {
            Ok(kernel) => kernel,
            Err(KernelError::Capability { .. }) => continue,
            Err(error) => panic!("{way}: {error}"),
        };
        let mut found = [0i64; 5];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let to = s.lend_mut(&mut found)?.ptr();
            // 2.5 in half precision.
            let args = small::Args { to, a: i64::MIN, b: u16::MAX, c: -3, d: 200, e: 0x4100 };
            Ok(s.launch(&kernel, Grid::groups(1, 1, 1), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(found, [i64::MIN, i64::from(u16::MAX), -3, 200, 2], "{way}");
    }
}

#[test]
fn a_fault_names_argument_and_line_of_the_source() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<walk::Kernel>().unwrap();
        let node = [Node { next: 8, value: 1, unused: 0 }];
        let mut sum = [0u32];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (node, sum) = (s.lend(&node)?, s.lend_mut(&mut sum)?);
            let args = walk::Args { sum: sum.ptr(), head: Some(node.ptr()) };
            s.launch(&kernel, Grid::groups(1, 1, 1), args)?;
            Ok(s.wait().map(drop)?)
        });
        let Err(Error::Launch(LaunchError::Fault(fault))) = ran else { panic!("{way}: {ran:?}") };
        let text = fault.to_string();
        assert!(text.contains("kernels_are_typed_by_the_macro.rs:"), "{way}: {text}");
    }
}

#[test]
fn the_spirv_file_is_what_its_source_compiles_to() {
    let source = include_str!("typed/add.comp");
    let compiler = shaderc::Compiler::new().unwrap();
    let mut options = shaderc::CompileOptions::new().unwrap();
    let version = shaderc::EnvVersion::Vulkan1_2 as u32;
    options.set_target_env(shaderc::TargetEnv::Vulkan, version);
    options.set_target_spirv(shaderc::SpirvVersion::V1_5);
    let kind = shaderc::ShaderKind::Compute;
    let made = compiler.compile_into_spirv(source, kind, "add.comp", "main", Some(&options));
    let words = made.unwrap().as_binary().to_vec();
    if std::env::var_os("FARPTR_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/typed/add.spv");
        std::fs::write(path, bytemuck::cast_slice::<u32, u8>(&words)).unwrap();
    }
    // Compilers of other releases have other generators, and say so in the third word.
    assert_eq!(words[3..], add::Kernel::words()[3..]);
}

#[test]
fn the_assembled_words_are_those_of_their_source() {
    let entries = glsl::assembly("entries", include_str!("typed/entries.spvasm"));
    let five = glsl::assembly("five", include_str!("typed/five.spvasm"));
    for (made, given) in [
        (&entries, shift::Kernel::words()),
        (&entries, turn::Kernel::words()),
        (&five, five::Kernel::words()),
    ] {
        // The third word is the assembler's release.
        assert_eq!((made[1], &made[3..]), (given[1], &given[3..]));
    }
}
