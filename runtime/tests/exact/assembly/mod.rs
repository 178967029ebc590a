//! What GLSL cannot say, in SPIR-V's assembly language.

use crate::case::{Buffer, Case, Image};

cases! {
    copy_of_words, copy_of_structures, copy_of_long_arrays, copy_with_operands,
    chain_on_a_pointer, chain_of_chains, chain_with_negative_constant, chain_with_signed_index,
    chain_with_64_bit_index, select_of_pointers, phi_of_pointers, phi_around_a_loop,
    pointer_as_parameter_and_result, pointer_in_variables, pointer_of_another_type,
    pointer_in_a_structure, loop_of_one_block, loop_header_that_branches, atomic_steps,
    nontemporal_and_volatile, negative_as_unsigned,
}

/// A module with a kernel of 64 invocations per workgroup and two arguments, `%x` and `%y`, that
/// point to words. `%i` is the invocation's number; `%kept` and `%own` are variables that hold a
/// pointer; `%px` and `%py` point to word `%i`.
macro_rules! module {
    ($decorations:literal, $types:literal, $body:literal) => {
        module!("", $decorations, $types, $body, "")
    };
    ($capabilities:literal, $decorations:literal, $types:literal, $body:literal, $rest:literal) => {
        concat!(
            "OpCapability Shader
             OpCapability PhysicalStorageBufferAddresses
             ",
            $capabilities,
            "
             OpMemoryModel PhysicalStorageBuffer64 GLSL450
             OpEntryPoint GLCompute %main \"main\" %id %push %kept
             OpExecutionMode %main LocalSize 64 1 1
             OpDecorate %id BuiltIn GlobalInvocationId
             OpMemberDecorate %Push 0 Offset 0
             OpMemberDecorate %Push 1 Offset 8
             OpDecorate %Push Block
             OpDecorate %array ArrayStride 4
             OpMemberDecorate %Words 0 Offset 0
             OpDecorate %Words Block
             OpDecorate %to_uint ArrayStride 4
             OpDecorate %kept AliasedPointer
             OpDecorate %own AliasedPointer
             ",
            $decorations,
            "
             %void = OpTypeVoid
             %function = OpTypeFunction %void
             %bool = OpTypeBool
             %uint = OpTypeInt 32 0
             %int = OpTypeInt 32 1
             %pair = OpTypeVector %uint 2
             %triple = OpTypeVector %uint 3
             %quad = OpTypeVector %uint 4
             %c0 = OpConstant %uint 0
             %c1 = OpConstant %uint 1
             %c2 = OpConstant %uint 2
             %c3 = OpConstant %uint 3
             %c4 = OpConstant %uint 4
             %c5 = OpConstant %uint 5
             %c64 = OpConstant %uint 64
             %last = OpConstant %uint 1023
             %minus_one = OpConstant %int -1
             %array = OpTypeRuntimeArray %uint
             %Words = OpTypeStruct %array
             %to_words = OpTypePointer PhysicalStorageBuffer %Words
             %to_uint = OpTypePointer PhysicalStorageBuffer %uint
             %Push = OpTypeStruct %pair %pair
             %push_pointer = OpTypePointer PushConstant %Push
             %push_pair = OpTypePointer PushConstant %pair
             %push = OpVariable %push_pointer PushConstant
             %id_pointer = OpTypePointer Input %triple
             %id = OpVariable %id_pointer Input
             %kept_pointer = OpTypePointer Private %to_words
             %kept = OpVariable %kept_pointer Private
             %own_pointer = OpTypePointer Function %to_uint
             ",
            $types,
            "
             %main = OpFunction %void None %function
             %entry = OpLabel
             %own = OpVariable %own_pointer Function
             %all = OpLoad %triple %id
             %i = OpCompositeExtract %uint %all 0
             %x_member = OpAccessChain %push_pair %push %c0
             %x_pair = OpLoad %pair %x_member
             %x = OpBitcast %to_words %x_pair
             %y_member = OpAccessChain %push_pair %push %c1
             %y_pair = OpLoad %pair %y_member
             %y = OpBitcast %to_words %y_pair
             %px = OpAccessChain %to_uint %x %c0 %i
             %py = OpAccessChain %to_uint %y %c0 %i
             ",
            $body,
            "
             OpFunctionEnd
             ",
            $rest
        )
    };
}

/// Words to read and words to write, 1,024 each, an invocation for each.
fn pair(source: &'static str) -> Case {
    Case::assembly(source)
        .lend(Buffer::random(200, 1024))
        .lend(Buffer::random(201, 1024).writable())
        .groups(16)
        .pointer_values()
}

/// `y` becomes what the function makes of an invocation's number and of `x`.
fn becomes(image: &mut Image, of: impl Fn(usize, &[u32]) -> u32) {
    let x = image.words(0);
    let y: Vec<u32> = (0..x.len()).map(|id| of(id, &x)).collect();
    image.set_words(1, &y);
}

fn copy_of_words() -> Case {
    pair(module!("", "", "OpCopyMemory %py %px Aligned 4 OpReturn"))
        .oracle(|image| becomes(image, |id, x| x[id]))
}

/// Twenty bytes at a time; some straddle a page.
fn copy_of_structures() -> Case {
    pair(module!(
        "OpMemberDecorate %Part 0 Offset 0 OpMemberDecorate %Part 1 Offset 4
         OpMemberDecorate %Part 2 Offset 16
         OpDecorate %parts ArrayStride 20 OpMemberDecorate %Parts 0 Offset 0 OpDecorate %Parts Block",
        "%Part = OpTypeStruct %uint %triple %uint
         %parts = OpTypeRuntimeArray %Part
         %Parts = OpTypeStruct %parts
         %to_parts = OpTypePointer PhysicalStorageBuffer %Parts
         %to_part = OpTypePointer PhysicalStorageBuffer %Part
         %most = OpConstant %uint 204",
        "%few = OpULessThan %bool %i %most
         OpSelectionMerge %done None
         OpBranchConditional %few %do %done
         %do = OpLabel
         %xs = OpBitcast %to_parts %x_pair
         %ys = OpBitcast %to_parts %y_pair
         %j = OpISub %uint %most %i
         %k = OpISub %uint %j %c1
         %from = OpAccessChain %to_part %xs %c0 %k
         %to = OpAccessChain %to_part %ys %c0 %i
         OpCopyMemory %to %from Aligned 4
         OpBranch %done
         %done = OpLabel
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x[..1020].rchunks(5).zip(y[..1020].chunks_mut(5)) {
            y.copy_from_slice(x);
        }
        image.set_words(1, &y);
    })
}

/// 1,600 bytes at a time.
fn copy_of_long_arrays() -> Case {
    pair(module!(
        "OpDecorate %long ArrayStride 4 OpMemberDecorate %Long 0 Offset 0 OpDecorate %Long Block
         OpDecorate %to_long ArrayStride 1600",
        "%n = OpConstant %uint 400
         %two = OpConstant %uint 2
         %long = OpTypeArray %uint %n
         %Long = OpTypeStruct %long
         %to_long = OpTypePointer PhysicalStorageBuffer %Long",
        "%few = OpULessThan %bool %i %two
         OpSelectionMerge %done None
         OpBranchConditional %few %do %done
         %do = OpLabel
         %xs = OpBitcast %to_long %x_pair
         %ys = OpBitcast %to_long %y_pair
         %from = OpPtrAccessChain %to_long %xs %i
         %j = OpISub %uint %c1 %i
         %to = OpPtrAccessChain %to_long %ys %j
         OpCopyMemory %to %from Aligned 4
         OpBranch %done
         %done = OpLabel
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        y[..400].copy_from_slice(&x[400..800]);
        y[400..800].copy_from_slice(&x[..400]);
        image.set_words(1, &y);
    })
}

/// Operands of their own for target and source.
fn copy_with_operands() -> Case {
    pair(module!("", "", "OpCopyMemory %py %px Volatile|Aligned 4 Nontemporal|Aligned 4 OpReturn"))
        .oracle(|image| becomes(image, |id, x| x[id]))
}

/// OpPtrAccessChain steps from element to element.
fn chain_on_a_pointer() -> Case {
    pair(module!(
        "",
        "",
        "%back = OpISub %uint %last %i
         %back_from = OpISub %uint %back %i
         %from = OpPtrAccessChain %to_uint %px %back_from
         %v = OpLoad %uint %from Aligned 4
         %w = OpIAdd %uint %v %i
         OpStore %py %w Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[1023 - id].wrapping_add(id as u32)))
}

fn chain_of_chains() -> Case {
    pair(module!(
        "OpDecorate %row ArrayStride 4 OpDecorate %rows ArrayStride 64
         OpMemberDecorate %Rows 0 Offset 0 OpDecorate %Rows Block",
        "%c16 = OpConstant %uint 16
         %c15 = OpConstant %uint 15
         %row = OpTypeArray %uint %c16
         %rows = OpTypeRuntimeArray %row
         %Rows = OpTypeStruct %rows
         %to_rows = OpTypePointer PhysicalStorageBuffer %Rows
         %to_row_array = OpTypePointer PhysicalStorageBuffer %rows
         %to_row = OpTypePointer PhysicalStorageBuffer %row",
        "%xs = OpBitcast %to_rows %x_pair
         %a = OpAccessChain %to_row_array %xs %c0
         %high = OpShiftRightLogical %uint %i %c4
         %low = OpBitwiseAnd %uint %i %c15
         %b = OpInBoundsAccessChain %to_row %a %high
         %flip = OpISub %uint %c15 %low
         %c = OpAccessChain %to_uint %b %flip
         %v = OpLoad %uint %c Aligned 4
         OpStore %py %v Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[id ^ 15]))
}

fn chain_with_negative_constant() -> Case {
    pair(module!(
        "",
        "",
        "%next = OpIAdd %uint %i %c1
         %p = OpAccessChain %to_uint %x %c0 %next
         %q = OpPtrAccessChain %to_uint %p %minus_one
         %v = OpLoad %uint %q Aligned 4
         %w = OpNot %uint %v
         OpStore %py %w Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| !x[id]))
}

fn chain_with_signed_index() -> Case {
    pair(module!(
        "",
        "%half = OpConstant %int 512",
        "%s = OpBitcast %int %i
         %t = OpISub %int %s %half
         %u = OpIAdd %int %t %half
         %p = OpAccessChain %to_uint %x %c0 %u
         %v = OpLoad %uint %p Aligned 4
         %middle = OpAccessChain %to_uint %y %c0 %half
         %q = OpPtrAccessChain %to_uint %middle %t
         OpStore %q %v Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[id]))
}

fn chain_with_64_bit_index() -> Case {
    pair(module!(
        "OpCapability Int64",
        "",
        "%long = OpTypeInt 64 0
         %long_last = OpConstant %long 1023",
        "%wide = OpUConvert %long %i
         %j = OpISub %long %long_last %wide
         %p = OpAccessChain %to_uint %x %c0 %j
         %v = OpLoad %uint %p Aligned 4
         %q = OpAccessChain %to_uint %y %c0 %wide
         OpStore %q %v Aligned 4
         OpReturn",
        ""
    ))
    .oracle(|image| becomes(image, |id, x| x[1023 - id]))
}

fn select_of_pointers() -> Case {
    pair(module!(
        "",
        "",
        "%bit = OpBitwiseAnd %uint %i %c1
         %odd = OpIEqual %bool %bit %c1
         %p = OpSelect %to_uint %odd %px %py
         %v = OpLoad %uint %p Aligned 4
         %w = OpIMul %uint %v %c3
         OpStore %py %w Aligned 4
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in y.iter_mut().enumerate() {
            *y = if id & 1 == 1 { x[id] } else { *y }.wrapping_mul(3);
        }
        image.set_words(1, &y);
    })
}

fn phi_of_pointers() -> Case {
    pair(module!(
        "",
        "",
        "%v = OpLoad %uint %px Aligned 4
         %bit = OpBitwiseAnd %uint %v %c4
         %set = OpINotEqual %bool %bit %c0
         OpSelectionMerge %join None
         OpBranchConditional %set %left %right
         %left = OpLabel
         %j = OpBitwiseXor %uint %i %c5
         %a = OpAccessChain %to_uint %x %c0 %j
         OpBranch %join
         %right = OpLabel
         OpBranch %join
         %join = OpLabel
         %p = OpPhi %to_uint %a %left %py %right
         %w = OpLoad %uint %p Aligned 4
         %sum = OpIAdd %uint %v %w
         OpStore %py %sum Aligned 4
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in y.iter_mut().enumerate() {
            let other = if x[id] & 4 == 0 { *y } else { x[id ^ 5] };
            *y = x[id].wrapping_add(other);
        }
        image.set_words(1, &y);
    })
}

/// A loop moves two pointers on: one steps, the other takes its place.
fn phi_around_a_loop() -> Case {
    pair(module!(
        "",
        "%mask = OpConstant %uint 511
         %c7 = OpConstant %uint 7",
        "%start = OpBitwiseAnd %uint %i %mask
         %first = OpAccessChain %to_uint %x %c0 %start
         OpBranch %head
         %head = OpLabel
         %p = OpPhi %to_uint %first %entry %moved %next
         %before = OpPhi %to_uint %first %entry %p %next
         %k = OpPhi %uint %c0 %entry %more %next
         %sum = OpPhi %uint %i %entry %added %next
         OpLoopMerge %out %next None
         OpBranch %test
         %test = OpLabel
         %go = OpULessThan %bool %k %c7
         OpBranchConditional %go %work %out
         %work = OpLabel
         %v = OpLoad %uint %p Aligned 4
         %w = OpLoad %uint %before Aligned 4
         %vw = OpBitwiseXor %uint %v %w
         %five = OpIMul %uint %sum %c5
         %added = OpIAdd %uint %five %vw
         OpBranch %next
         %next = OpLabel
         %moved = OpPtrAccessChain %to_uint %p %c64
         %more = OpIAdd %uint %k %c1
         OpBranch %head
         %out = OpLabel
         OpStore %py %sum Aligned 4
         OpReturn"
    ))
    .oracle(|image| {
        becomes(image, |id, x| {
            let mut sum = id as u32;
            for k in 0..7 {
                let at = (id & 511) + 64 * k;
                let before = if k == 0 { at } else { at - 64 };
                sum = sum.wrapping_mul(5).wrapping_add(x[at] ^ x[before]);
            }
            sum
        })
    })
}

fn pointer_as_parameter_and_result() -> Case {
    pair(module!(
        "",
        "OpDecorate %from Aliased OpDecorate %base Aliased",
        "%step_type = OpTypeFunction %to_uint %to_uint %uint
         %take_type = OpTypeFunction %uint %to_words %uint",
        "%j = OpBitwiseXor %uint %i %c3
         %first = OpAccessChain %to_uint %y %c0 %c0
         %q = OpFunctionCall %to_uint %step %first %j
         %v = OpFunctionCall %uint %take %x %i
         OpStore %q %v Aligned 4
         OpReturn",
        "%step = OpFunction %to_uint None %step_type
         %base = OpFunctionParameter %to_uint
         %by = OpFunctionParameter %uint
         %step_entry = OpLabel
         %odd = OpBitwiseAnd %uint %by %c1
         %is_odd = OpIEqual %bool %odd %c1
         OpSelectionMerge %step_rest None
         OpBranchConditional %is_odd %step_odd %step_rest
         %step_odd = OpLabel
         %one = OpPtrAccessChain %to_uint %base %by
         OpReturnValue %one
         %step_rest = OpLabel
         %half = OpShiftRightLogical %uint %by %c1
         %two = OpPtrAccessChain %to_uint %base %half
         %three = OpPtrAccessChain %to_uint %two %half
         OpReturnValue %three
         OpFunctionEnd
         %take = OpFunction %uint DontInline %take_type
         %from = OpFunctionParameter %to_words
         %at = OpFunctionParameter %uint
         %take_entry = OpLabel
         %element = OpAccessChain %to_uint %from %c0 %at
         %taken = OpLoad %uint %element Aligned 4
         OpReturnValue %taken
         OpFunctionEnd"
    ))
    .oracle(|image| becomes(image, |id, x| x[id ^ 3]))
}

fn pointer_in_variables() -> Case {
    pair(module!(
        "",
        "",
        "OpStore %own %py
         OpStore %kept %x
         %a = OpLoad %to_words %kept
         %j = OpISub %uint %last %i
         %p = OpAccessChain %to_uint %a %c0 %j
         %v = OpLoad %uint %p Aligned 4
         OpStore %kept %y
         %q = OpLoad %to_uint %own
         OpStore %q %v Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[1023 - id]))
}

/// A pointer becomes one of another type, a pair of words, and a pointer again.
fn pointer_of_another_type() -> Case {
    pair(module!(
        "OpDecorate %to_quad ArrayStride 16",
        "%to_quad = OpTypePointer PhysicalStorageBuffer %quad
         %most = OpConstant %uint 256",
        "%few = OpULessThan %bool %i %most
         OpSelectionMerge %done None
         OpBranchConditional %few %do %done
         %do = OpLabel
         %start = OpAccessChain %to_uint %x %c0 %c0
         %quads = OpBitcast %to_quad %start
         %from = OpPtrAccessChain %to_quad %quads %i
         %v = OpLoad %quad %from Aligned 4
         %mixed = OpVectorShuffle %quad %v %v 2 3 0 1
         %target = OpAccessChain %to_uint %y %c0 %c0
         %raw = OpBitcast %pair %target
         %again = OpBitcast %to_quad %raw
         %copy = OpCopyObject %to_quad %again
         %to = OpPtrAccessChain %to_quad %copy %i
         OpStore %to %mixed Aligned 4
         OpBranch %done
         %done = OpLabel
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[id ^ 2]))
}

/// Pointers within a structure that is built, taken apart and stored to memory whole.
fn pointer_in_a_structure() -> Case {
    let source = module!(
        "OpMemberDecorate %Two 0 Offset 0 OpMemberDecorate %Two 1 Offset 8
         OpDecorate %twos ArrayStride 16 OpMemberDecorate %Twos 0 Offset 0 OpDecorate %Twos Block",
        "%Two = OpTypeStruct %to_uint %to_uint
         %twos = OpTypeRuntimeArray %Two
         %Twos = OpTypeStruct %twos
         %to_twos = OpTypePointer PhysicalStorageBuffer %Twos
         %to_two = OpTypePointer PhysicalStorageBuffer %Two
         %to_to_uint = OpTypePointer PhysicalStorageBuffer %to_uint",
        "%table = OpBitcast %to_twos %y_pair
         %entry_i = OpAccessChain %to_two %table %c0 %i
         %j = OpBitwiseXor %uint %i %c1
         %pxj = OpAccessChain %to_uint %x %c0 %j
         %made = OpCompositeConstruct %Two %px %pxj
         OpStore %entry_i %made Aligned 8
         %read = OpLoad %Two %entry_i Aligned 8
         %second = OpCompositeExtract %to_uint %read 1
         %v = OpLoad %uint %second Aligned 4
         %w = OpIAdd %uint %v %c1
         OpStore %second %w Aligned 4
         %slot = OpAccessChain %to_to_uint %table %c0 %i %c0
         OpStore %slot %second Aligned 8
         OpReturn"
    );
    Case::assembly(source)
        .lend(Buffer::random(202, 1024).writable())
        .lend(Buffer::zeroes(4096).writable())
        .groups(16)
        .pointer_values()
        .oracle(|image| {
            let x: Vec<u32> = image.words(0).iter().map(|x| x.wrapping_add(1)).collect();
            let start = image.starts[0];
            let table: Vec<u64> = (0..1024).flat_map(|id| [start + 4 * (id ^ 1); 2]).collect();
            image.set_words(0, &x);
            image.buffers[1] = bytemuck::cast_slice(&table).to_vec();
        })
}

/// A block that is a loop's header, body and end.
fn loop_of_one_block() -> Case {
    pair(module!(
        "",
        "%c9 = OpConstant %uint 9",
        "OpBranch %loop
         %loop = OpLabel
         %k = OpPhi %uint %c0 %entry %more %loop
         %sum = OpPhi %uint %c0 %entry %added %loop
         %j = OpIMul %uint %k %c64
         %mixed = OpBitwiseXor %uint %i %j
         %p = OpAccessChain %to_uint %x %c0 %mixed
         %v = OpLoad %uint %p Aligned 4
         %added = OpIAdd %uint %sum %v
         OpStore %py %added Aligned 4
         %more = OpIAdd %uint %k %c1
         %go = OpULessThan %bool %more %c9
         OpLoopMerge %out %loop None
         OpBranchConditional %go %loop %out
         %out = OpLabel
         OpReturn"
    ))
    .oracle(|image| {
        becomes(image, |id, x| (0..9).fold(0u32, |sum, k| sum.wrapping_add(x[id ^ k * 64])))
    })
}

/// A loop's header branches between two parts of its body.
fn loop_header_that_branches() -> Case {
    pair(module!(
        "",
        "%c6 = OpConstant %uint 6",
        "OpBranch %head
         %head = OpLabel
         %k = OpPhi %uint %c0 %entry %more %next
         %sum = OpPhi %uint %i %entry %joined %next
         %bit = OpBitwiseAnd %uint %sum %c1
         %odd = OpIEqual %bool %bit %c1
         OpLoopMerge %out %next None
         OpBranchConditional %odd %one %two
         %one = OpLabel
         %v = OpLoad %uint %px Aligned 4
         %a = OpIAdd %uint %sum %v
         OpBranch %next
         %two = OpLabel
         %w = OpLoad %uint %py Aligned 4
         %b = OpBitwiseXor %uint %sum %w
         OpStore %py %b Aligned 4
         OpBranch %next
         %next = OpLabel
         %joined = OpPhi %uint %a %one %b %two
         %more = OpIAdd %uint %k %c1
         %go = OpULessThan %bool %more %c6
         OpBranchConditional %go %head %out
         %out = OpLabel
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in (0u32..).zip(&mut y) {
            let mut sum = id;
            for _ in 0..6 {
                if sum & 1 == 1 {
                    sum = sum.wrapping_add(x[id as usize]);
                } else {
                    sum ^= *y;
                    *y = sum;
                }
            }
        }
        image.set_words(1, &y);
    })
}

/// Atomic operations that GLSL has no word for.
fn atomic_steps() -> Case {
    pair(module!(
        "",
        "%device = OpConstant %uint 1
         %relaxed = OpConstant %uint 0",
        "%v = OpLoad %uint %px Aligned 4
         %a = OpAtomicIIncrement %uint %py %device %relaxed
         %b = OpAtomicIDecrement %uint %py %device %relaxed
         %c = OpAtomicISub %uint %py %device %relaxed %v
         %ab = OpIAdd %uint %a %b
         %abc = OpIAdd %uint %ab %c
         %d = OpAtomicIAdd %uint %py %device %relaxed %abc
         OpReturn"
    ))
    .oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x.iter().zip(&mut y) {
            let three = y.wrapping_mul(3).wrapping_add(1);
            *y = y.wrapping_sub(*x).wrapping_add(three);
        }
        image.set_words(1, &y);
    })
}

fn nontemporal_and_volatile() -> Case {
    pair(module!(
        "",
        "",
        "%v = OpLoad %uint %px Nontemporal|Aligned 4
         %w = OpLoad %uint %px Volatile|Aligned 4
         %sum = OpIAdd %uint %v %w
         OpStore %py %sum Volatile|Aligned 4
         OpReturn"
    ))
    .oracle(|image| becomes(image, |id, x| x[id].wrapping_mul(2)))
}

/// An unsigned index beyond 2^31 is negative, from a pointer into the middle of a lend.
fn negative_as_unsigned() -> Case {
    let source = module!(
        "",
        "",
        "%neither = OpNot %uint %i
         %p = OpAccessChain %to_uint %x %c0 %neither
         %v = OpLoad %uint %p Aligned 4
         OpStore %py %v Aligned 4
         OpReturn"
    );
    Case::assembly(source)
        .lend_silently(Buffer::random(203, 2000))
        .at(0, 4 * 1024)
        .lend(Buffer::zeroes(1024).writable())
        .groups(16)
        .oracle(|image| {
            let x = image.words(0);
            let y: Vec<u32> = x[..1024].iter().rev().copied().collect();
            image.set_words(1, &y);
        })
}
