//! Values for specialisation constants: the words before and after, judged by SPIRV-Tools and
//! compared with what spirv-opt makes of the same values.

use super::forms::variants;
use super::run::{run, to_bytes, to_words};
use super::tools::{assemble, compile, validate};
use crate::program::Program;
use crate::{
    ReflectError, Reflection, SpecConstant, SpecKey, SpecValue, SpecializeError, specialize,
};
use proptest::prelude::*;
use spirv::Op;

/// A kernel with constants of every type that Vulkan has.
const GLSL: &str = "#version 460
    #extension GL_EXT_buffer_reference : require
    #extension GL_EXT_buffer_reference_uvec2 : require
    #extension GL_EXT_shader_explicit_arithmetic_types : require
    layout(local_size_x_id = 0, local_size_y = 2, local_size_z_id = 9) in;
    layout(constant_id = 1) const bool IS_ON = true;
    layout(constant_id = 2) const int SIGNED = -3;
    layout(constant_id = 3) const uint COUNT = 5;
    layout(constant_id = 4) const float FACTOR = 0.5;
    layout(constant_id = 5) const double WIDE = 2.5;
    layout(constant_id = 6) const int64_t LONG = -7l;
    layout(constant_id = 7) const int16_t SHORT = -8s;
    layout(constant_id = 8) const uint8_t BYTE = uint8_t(200);
    layout(constant_id = 10) const float16_t HALF = 1.5hf;
    layout(constant_id = 11) const uint64_t ULONG = 18446744073709551615ul;
    layout(buffer_reference, std430, buffer_reference_align = 8) buffer F64 { double at[]; };
    layout(push_constant) uniform Push { uvec2 to; };
    shared uint tile[COUNT * 2];
    void main() {
        uint own[COUNT + 1];
        own[gl_LocalInvocationIndex % COUNT] = gl_WorkGroupSize.x;
        tile[gl_LocalInvocationIndex % 2] = own[COUNT];
        barrier();
        F64(to).at[0] = IS_ON ? double(SIGNED) + FACTOR : WIDE + double(LONG) + double(tile[1]);
        F64(to).at[1] = double(SHORT) + double(uint(BYTE)) + double(HALF) + double(ULONG);
    }";

fn kernel() -> Option<Vec<u32>> {
    compile(GLSL, "vulkan1.2", &[])
}

/// A value of a type, of these bits.
fn value_like(like: SpecValue, bits: u64) -> SpecValue {
    let bytes = bits.to_le_bytes();
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let short = u16::from_le_bytes([bytes[0], bytes[1]]);
    match like {
        SpecValue::Bool(_) => SpecValue::Bool(bits & 1 == 1),
        SpecValue::I8(_) => SpecValue::I8(bytes[0].cast_signed()),
        SpecValue::I16(_) => SpecValue::I16(short.cast_signed()),
        SpecValue::I32(_) => SpecValue::I32(word.cast_signed()),
        SpecValue::I64(_) => SpecValue::I64(bits.cast_signed()),
        SpecValue::U8(_) => SpecValue::U8(bytes[0]),
        SpecValue::U16(_) => SpecValue::U16(short),
        SpecValue::U32(_) => SpecValue::U32(word),
        SpecValue::U64(_) => SpecValue::U64(bits),
        SpecValue::F16(_) => SpecValue::F16(short),
        SpecValue::F32(_) => SpecValue::F32(f32::from_bits(word)),
        SpecValue::F64(_) => SpecValue::F64(f64::from_bits(bits)),
    }
}

fn error(words: &[u32], key: impl Into<SpecKey<'static>>, value: impl Into<SpecValue>) -> String {
    let specialised = specialize(words, None, &[(key.into(), value.into())]);
    specialised.expect_err("the value is refused").to_string()
}

#[test]
fn constants_are_listed_with_name_type_and_default() {
    let Some(words) = kernel() else { return };
    let found = Reflection::of(&words).unwrap().constants;
    let constant = |id, name: &str, default| SpecConstant { id, name: name.to_owned(), default };
    let expected = [
        constant(0, "local_size_x", SpecValue::U32(1)),
        constant(1, "IS_ON", SpecValue::Bool(true)),
        constant(2, "SIGNED", SpecValue::I32(-3)),
        constant(3, "COUNT", SpecValue::U32(5)),
        constant(4, "FACTOR", SpecValue::F32(0.5)),
        constant(5, "WIDE", SpecValue::F64(2.5)),
        constant(6, "LONG", SpecValue::I64(-7)),
        constant(7, "SHORT", SpecValue::I16(-8)),
        constant(8, "BYTE", SpecValue::U8(200)),
        constant(9, "local_size_z", SpecValue::U32(1)),
        constant(10, "HALF", SpecValue::F16(0x3e00)),
        constant(11, "ULONG", SpecValue::U64(u64::MAX)),
    ];
    assert_eq!(found, expected);
    let shared = Reflection::of(&words).unwrap().shared_bytes;
    assert_eq!(shared, 40, "two times five words");
}

#[test]
fn values_of_every_type_become_the_defaults_and_the_module_stays_valid() {
    let Some(words) = kernel() else { return };
    let before = Reflection::of(&words).unwrap();
    let small = |constant: &SpecConstant| match constant.default {
        // They are lengths and sizes.
        SpecValue::U32(_) => SpecValue::U32(3 + constant.id),
        other => value_like(other, 0x7123_4567_89ab_cdee),
    };
    let values: Vec<_> = before.constants.iter().map(|c| (SpecKey::Id(c.id), small(c))).collect();
    let specialised = specialize(&words, None, &values).unwrap();
    assert_eq!(specialised.len(), words.len(), "positions stay");
    validate(&specialised, "specialised");
    let after = Reflection::of(&specialised).unwrap();
    let found = after.constants.iter().map(|c| (SpecKey::Id(c.id), c.default));
    assert_eq!(found.collect::<Vec<_>>(), values);
    assert_eq!((after.local_size, after.shared_bytes), ([3, 2, 12], 48));
    let program = Program::parse(&specialised, None).unwrap();
    for variant in variants().into_iter().step_by(5) {
        validate(&program.rewrite(&variant).unwrap(), "rewritten");
    }
    // Nothing else changed: the defaults lead back.
    let defaults: Vec<_> =
        before.constants.iter().map(|c| (SpecKey::from(&*c.name), c.default)).collect();
    assert_eq!(specialize(&specialised, None, &defaults).unwrap(), words);
}

#[test]
fn spirv_opt_gives_the_same_values_the_same_words() {
    let Some(words) = kernel() else { return };
    let values = [(2u32, SpecValue::I32(-9)), (3, SpecValue::U32(7)), (4, SpecValue::F32(1.25))];
    let values = values.map(|(id, value)| (SpecKey::from(id), value));
    let ours = specialize(&words, None, &values).unwrap();
    let options = ["--set-spec-const-default-value", "2:-9 3:7 4:1.25", "-", "-o", "-"];
    let Some(theirs) = run("spirv-opt", &options, &to_bytes(&words)) else { return };
    assert_eq!(ours[5..], to_words(&theirs.unwrap())[5..]);
}

#[test]
fn mistakes_are_named_with_what_is_there() {
    let Some(words) = kernel() else { return };
    let missing = error(&words, "COUNTS", 1u32);
    assert!(missing.contains("no specialisation constant with the name `COUNTS`"), "{missing}");
    assert!(missing.contains("constant 3 (`COUNT`): u32"), "{missing}");
    let missing = error(&words, 33, 1u32);
    assert!(
        missing.contains("the number 33; it has constant 0 (`local_size_x`): u32"),
        "{missing}"
    );
    let typed = error(&words, 2, 1u32);
    let expected = "constant 2 (`SIGNED`) is a specialisation constant of type i32, and its value \
                    is 1, of type u32";
    assert_eq!(typed, expected);
    assert!(error(&words, "IS_ON", 1u32).contains("of type bool"));
    assert!(error(&words, "HALF", 1.5f32).contains("of type f16"));
    let twice = [(SpecKey::from("COUNT"), 4u32.into()), (SpecKey::from(3), 4u32.into())];
    let twice = specialize(&words, None, &twice).unwrap_err();
    assert_eq!(twice.to_string(), "constant 3 (`COUNT`) is given twice; keep one of the values");
    let none = specialize(&words, Some("start"), &[(SpecKey::from(3), 4u32.into())]);
    assert!(matches!(none, Err(SpecializeError::Words(_))), "{none:?}");
    assert_eq!(specialize(&words, None, &[]).unwrap(), words);
}

#[test]
fn workgroups_without_invocations_are_named() {
    let Some(words) = kernel() else { return };
    let values = [(SpecKey::from("local_size_x"), 0u32.into())];
    let specialised = specialize(&words, None, &values).unwrap();
    let error = Reflection::of(&specialised).unwrap_err().to_string();
    assert_eq!(
        error,
        "entry point `main` has workgroups of [0, 2, 1] invocations; give each dimension 1 or more"
    );
}

#[test]
fn what_would_make_the_module_invalid_is_refused() {
    let Some(words) = kernel() else { return };
    assert!(error(&words, "COUNT", 0u32).contains("an array in the kernel has 0 elements"));
    let own = error(&words, "COUNT", 1u32 << 20);
    assert!(own.contains("has 4194308 bytes for each invocation; 65536 are allowed"), "{own}");
    // Twice this is 0.
    assert!(error(&words, "COUNT", 1u32 << 31).contains("0 elements"));
}

/// A module whose constants are used by operations, and for clusters.
fn assembled(operation: &str, size: &str) -> Option<Vec<u32>> {
    let text = format!(
        "OpCapability Shader
        OpCapability GroupNonUniform
        OpCapability GroupNonUniformArithmetic
        OpCapability GroupNonUniformClustered
        OpMemoryModel Logical GLSL450
        OpEntryPoint GLCompute %main \"main\"
        OpExecutionMode %main LocalSize 1 1 1
        OpName %a \"number\"
        OpName %b \"number\"
        OpDecorate %a SpecId 1
        OpDecorate %b SpecId 2
        OpDecorate %c SpecId 2
        %void = OpTypeVoid
        %function = OpTypeFunction %void
        %uint = OpTypeInt 32 0
        %int = OpTypeInt 32 1
        %three = OpConstant %uint 3
        %minus = OpConstant %int -1
        %a = OpSpecConstant %uint 8
        %b = OpSpecConstant %int -2147483648
        %c = OpSpecConstant %int 4
        %it = OpSpecConstantOp {operation}
        %main = OpFunction %void None %function
        %label = OpLabel
        %sum = OpGroupNonUniformIAdd %uint %three ClusteredReduce %three {size}
        OpReturn
        OpFunctionEnd"
    );
    assemble(&text, "vulkan1.2")
}

#[test]
fn operations_without_a_result_and_clusters_are_refused() {
    for (operation, key, value, complaint) in [
        ("%uint UDiv %three %a", 1, SpecValue::U32(0), "it divides by 0"),
        ("%uint UMod %three %a", 1, SpecValue::U32(0), "it divides by 0"),
        ("%int SDiv %b %minus", 2, SpecValue::I32(i32::MIN), "its quotient is too large"),
        ("%int SRem %minus %b", 2, SpecValue::I32(0), "it divides by 0"),
        ("%int SMod %minus %b", 2, SpecValue::I32(0), "it divides by 0"),
        ("%uint ShiftLeftLogical %three %a", 1, SpecValue::U32(32), "as many bits as the number"),
        ("%uint IAdd %three %a", 1, SpecValue::U32(6), "clusters of a subgroup have 6"),
        ("%uint IAdd %three %a", 1, SpecValue::U32(0), "clusters of a subgroup have 0"),
    ] {
        let Some(words) = assembled(operation, "%a") else { return };
        let refusal = error(&words, key, value);
        assert!(refusal.contains(complaint), "{operation}: {refusal}");
    }
    let Some(words) = assembled("%int SDiv %b %minus", "%a") else { return };
    let fine = specialize(&words, None, &[(SpecKey::from(2), 5i32.into())]).unwrap();
    assert_eq!(Reflection::of(&fine).unwrap().constants[1].default, SpecValue::I32(5));
}

/// A module with a structure in memory that has arrays of 4 and of 3 words, in an array.
fn laid_out() -> Option<Vec<u32>> {
    let text = "OpCapability Shader
        OpCapability PhysicalStorageBufferAddresses
        OpCapability GroupNonUniformQuad
        OpMemoryModel PhysicalStorageBuffer64 GLSL450
        OpEntryPoint GLCompute %main \"main\"
        OpExecutionMode %main LocalSize 4 1 1
        OpDecorate %first SpecId 1
        OpDecorate %last SpecId 2
        OpDecorate %direction SpecId 3
        OpDecorate %Words ArrayStride 4
        OpDecorate %Others ArrayStride 4
        OpMemberDecorate %Node 0 Offset 16
        OpMemberDecorate %Node 1 Offset 0
        OpDecorate %Nodes ArrayStride 32
        OpMemberDecorate %Block 0 Offset 0
        OpDecorate %Block Block
        %void = OpTypeVoid
        %function = OpTypeFunction %void
        %uint = OpTypeInt 32 0
        %three = OpConstant %uint 3
        %first = OpSpecConstant %uint 4
        %last = OpSpecConstant %uint 3
        %direction = OpSpecConstant %uint 0
        %Words = OpTypeArray %uint %first
        %Others = OpTypeArray %uint %last
        %Node = OpTypeStruct %Others %Words
        %Nodes = OpTypeRuntimeArray %Node
        %Block = OpTypeStruct %Nodes
        %pointer = OpTypePointer PhysicalStorageBuffer %Block
        %main = OpFunction %void None %function
        %label = OpLabel
        %swapped = OpGroupNonUniformQuadSwap %uint %three %three %direction
        OpReturn
        OpFunctionEnd";
    assemble(text, "vulkan1.2")
}

#[test]
fn lengths_for_which_memory_has_no_room_and_directions_are_refused() {
    let Some(words) = laid_out() else { return };
    for (key, most, complaint) in [
        (1, 4u32, "an array in memory reaches into what lies behind it"),
        (2, 4, "an array in memory reaches into what lies behind it"),
        (3, 2, "a swap in a quad has the direction"),
    ] {
        let fine = specialize(&words, None, &[(SpecKey::from(key), most.into())]).unwrap();
        validate(&fine, "specialised");
        for value in [most + 1, u32::MAX] {
            let refusal = error(&words, key, value);
            assert!(refusal.contains(complaint), "{key}: {refusal}");
        }
    }
}

#[test]
fn a_literal_without_all_its_words_is_written_as_far_as_it_goes() {
    let Some(mut words) = laid_out() else { return };
    let uint = words.windows(4).position(|at| at[0] == 4 << 16 | Op::TypeInt as u32);
    words[uint.unwrap() + 2] = 64; // and the literals of this type have one word
    let values = [(SpecKey::from(2), SpecValue::U64(1 << 32 | 2))];
    let specialised = specialize(&words, None, &values).unwrap();
    let changed = specialised.iter().zip(&words).filter(|(after, before)| after != before);
    assert_eq!(changed.collect::<Vec<_>>(), [(&2, &3)]);
}

#[test]
fn one_number_for_two_constants_and_one_name_for_two_numbers() {
    let Some(words) = assembled("%uint IAdd %three %a", "%three") else { return };
    let found = Reflection::of(&words).unwrap().constants;
    let ids: Vec<u32> = found.iter().map(|constant| constant.id).collect();
    assert_eq!(ids, [1, 2, 2], "two defaults for one number");
    let both = specialize(&words, None, &[(SpecKey::from(2), 5i32.into())]).unwrap();
    let found = Reflection::of(&both).unwrap().constants;
    assert_eq!(found.len(), 2, "both have the value");
    let ambiguous = error(&words, "number", 5i32);
    assert!(ambiguous.contains("several specialisation constants have the name"), "{ambiguous}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Any values: those that are not refused are there afterwards, and nothing else is changed.
    #[test]
    fn any_value_is_there_or_refused(
        which in any::<prop::sample::Index>(),
        bits in prop_oneof![any::<u64>(), 0..70u64],
    ) {
        let Some(words) = kernel_once() else { return Ok(()) };
        let before = Reflection::of(words).unwrap().constants;
        let constant = which.get(&before);
        let value = value_like(constant.default, bits);
        let key = SpecKey::Id(constant.id);
        let Ok(specialised) = specialize(words, None, &[(key.clone(), value)]) else {
            prop_assert_eq!(&*constant.name, "COUNT", "this one is a length");
            return Ok(());
        };
        if let Ok(after) = Reflection::of(&specialised) {
            let found = after.constants.iter().find(|found| found.id == constant.id);
            prop_assert_eq!(found.unwrap().default, value);
        }
        let back = specialize(&specialised, None, &[(key, constant.default)]).unwrap();
        prop_assert_eq!(&*back, words);
    }

    /// Damaged modules are refused or specialised, and the pass takes or refuses the result.
    #[test]
    fn damaged_modules_never_panic(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u32>(), 0..3u8),
            1..6,
        ),
        id in 0..12u32,
        bits in 0..9u64,
    ) {
        let Some(words) = kernel_once() else { return Ok(()) };
        let mut words = words.to_vec();
        for (index, value, kind) in changes {
            let at = index.index(words.len());
            match kind {
                0 => words[at] = value,
                1 => words[at] = value % words[3].max(1),
                _ => words[at] ^= 1 << (value % 32),
            }
        }
        let found = Reflection::of(&words).map(|found| found.constants).unwrap_or_default();
        let Some(constant) = found.iter().find(|constant| constant.id == id) else { return Ok(()) };
        let value = value_like(constant.default, bits);
        if let Ok(specialised) = specialize(&words, None, &[(SpecKey::Id(id), value)]) {
            prop_assert_eq!(specialised.len(), words.len());
            drop(Program::parse(&specialised, None));
        }
    }
}

fn kernel_once() -> Option<&'static [u32]> {
    static WORDS: std::sync::OnceLock<Option<Vec<u32>>> = std::sync::OnceLock::new();
    WORDS.get_or_init(kernel).as_deref()
}

#[test]
fn composites_that_nest_without_end_are_unknown() {
    let mut words = vec![spirv::MAGIC_NUMBER, 0x1_0500, 0, 1 << 19, 0];
    words.extend([4 << 16 | Op::TypeInt as u32, 1, 32, 0]);
    words.extend([4 << 16 | Op::Constant as u32, 1, 2, 7]);
    for id in 3..1 << 19 {
        words.extend([4 << 16 | Op::ConstantComposite as u32, 1, id, id - 1]);
    }
    // To drop all of them, one from within the other, takes more stack than a thread has.
    assert!(matches!(Reflection::of(&words), Err(ReflectError::NoComputeEntry)));
}
