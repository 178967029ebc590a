//! Copies, access chains and atomic operations.

use super::{becomes, pair};
use crate::case::{Buffer, Case};

cases! {
    ($) each_of_assembly_accesses:
    copy_of_words, copy_of_structures, copy_of_long_arrays, copy_with_operands,
    chain_on_a_pointer, chain_of_chains, chain_with_negative_constant, chain_with_signed_index,
    chain_with_64_bit_index, atomic_steps, nontemporal_and_volatile, negative_as_unsigned,
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
         OpDecorate %parts ArrayStride 20
         OpMemberDecorate %Parts 0 Offset 0 OpDecorate %Parts Block",
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
