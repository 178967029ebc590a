//! Pointers as values, and loops.

use super::{becomes, pair};
use crate::case::{Buffer, Case};

cases! {
    ($) each_of_assembly_values:
    select_of_pointers, phi_of_pointers, phi_around_a_loop, pointer_as_parameter_and_result,
    pointer_in_variables, pointer_of_another_type, pointer_in_a_structure, loop_of_one_block,
    loop_header_that_branches,
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
        });
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
        becomes(image, |id, x| (0..9).fold(0u32, |sum, k| sum.wrapping_add(x[id ^ (k * 64)])));
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
