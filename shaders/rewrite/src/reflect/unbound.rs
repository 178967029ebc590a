//! Removes the capabilities that only descriptors need from modules that bind nothing.
//!
//! Compilers declare capabilities by the shape of a type: glslang takes any array without a length
//! for an array of descriptors, and declares `RuntimeDescriptorArray` where it holds references. A
//! device that lacks such a capability would refuse the kernel for nothing. A module without a
//! variable that can be bound does not need the capabilities of descriptors, and one that also
//! names no type of an image does not need those of images.
//!
//! A capability becomes `Shader`, which may be declared more than once, so that instructions keep
//! the positions that messages name. Only the decoration `NonUniform`, which a kernel that binds
//! nothing hardly has, is taken out.

use crate::reflect::module::instructions;
use spirv::{Capability, Decoration, Op, StorageClass};
use std::borrow::Cow;
use std::ops::Range;

/// The words of a module, without the capabilities that it cannot use because it binds nothing.
///
/// Words that are no module are given back as they are.
#[must_use]
pub fn without_unused_capabilities(words: &[u32]) -> Cow<'_, [u32]> {
    let Some(needless) = needless(words) else { return words.into() };
    if needless.capabilities.is_empty() {
        return words.into();
    }
    let mut words = words.to_vec();
    for at in needless.capabilities {
        words[at] = Capability::Shader as u32;
    }
    for decoration in needless.decorations.into_iter().rev() {
        words.drain(decoration);
    }
    words.into()
}

/// The capabilities that a module has no use for.
#[derive(Default)]
struct Needless {
    /// The positions of capabilities.
    capabilities: Vec<usize>,
    /// The words of decorations, from the first to the last.
    decorations: Vec<Range<usize>>,
}

/// Finds the capabilities and decorations that a module does not need because it binds nothing.
fn needless(words: &[u32]) -> Option<Needless> {
    let mut found = Needless::default();
    let mut of_images = Vec::new();
    let mut has_images = false;
    for instruction in instructions(words).ok()? {
        let instruction = instruction.ok()?;
        let start = instruction.word;
        match instruction.op {
            Some(Op::Capability) => match Capability::from_u32(instruction.operand(0).ok()?) {
                Some(of) if is_of_descriptors(of) => found.capabilities.push(start + 1),
                Some(of) if is_of_images(of) => of_images.push(start + 1),
                _ => {}
            },
            Some(Op::Decorate) if instruction.operand(1).ok()? == Decoration::NonUniform as u32 => {
                found.decorations.push(start..start + 1 + instruction.operands.len());
            }
            Some(Op::TypeImage | Op::TypeSampler | Op::TypeSampledImage) => has_images = true,
            Some(Op::Variable) => {
                use StorageClass::{StorageBuffer, Uniform, UniformConstant};
                match StorageClass::from_u32(instruction.operand(2).ok()?) {
                    None | Some(Uniform | UniformConstant | StorageBuffer) => return None,
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }
    if !has_images {
        found.capabilities.append(&mut of_images);
    }
    Some(found)
}

/// Whether a capability is about arrays of descriptors and how they are indexed.
fn is_of_descriptors(capability: Capability) -> bool {
    use Capability as C;
    matches!(
        capability,
        C::RuntimeDescriptorArray
            | C::ShaderNonUniform
            | C::UniformBufferArrayDynamicIndexing
            | C::SampledImageArrayDynamicIndexing
            | C::StorageBufferArrayDynamicIndexing
            | C::StorageImageArrayDynamicIndexing
            | C::InputAttachmentArrayDynamicIndexing
            | C::UniformTexelBufferArrayDynamicIndexing
            | C::StorageTexelBufferArrayDynamicIndexing
            | C::UniformBufferArrayNonUniformIndexing
            | C::SampledImageArrayNonUniformIndexing
            | C::StorageBufferArrayNonUniformIndexing
            | C::StorageImageArrayNonUniformIndexing
            | C::InputAttachmentArrayNonUniformIndexing
            | C::UniformTexelBufferArrayNonUniformIndexing
            | C::StorageTexelBufferArrayNonUniformIndexing
    )
}

/// Whether a capability is about images: what they are, and what may be done with them.
fn is_of_images(capability: Capability) -> bool {
    use Capability as C;
    matches!(
        capability,
        C::ImageGatherExtended
            | C::StorageImageMultisample
            | C::ImageCubeArray
            | C::ImageRect
            | C::SampledRect
            | C::InputAttachment
            | C::SparseResidency
            | C::MinLod
            | C::Sampled1D
            | C::Image1D
            | C::SampledCubeArray
            | C::SampledBuffer
            | C::ImageBuffer
            | C::ImageMSArray
            | C::StorageImageExtendedFormats
            | C::ImageQuery
            | C::StorageImageReadWithoutFormat
            | C::StorageImageWriteWithoutFormat
            | C::Int64ImageEXT
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reflection;
    use farptr_kernels::{KernelDesc, gather, saxpy};

    /// Capabilities of descriptors and images that compilers declare.
    const DECLARED: [Capability; 35] = [
        Capability::RuntimeDescriptorArray,
        Capability::ShaderNonUniform,
        Capability::UniformBufferArrayDynamicIndexing,
        Capability::SampledImageArrayDynamicIndexing,
        Capability::StorageBufferArrayDynamicIndexing,
        Capability::StorageImageArrayDynamicIndexing,
        Capability::InputAttachmentArrayDynamicIndexing,
        Capability::UniformTexelBufferArrayDynamicIndexing,
        Capability::StorageTexelBufferArrayDynamicIndexing,
        Capability::UniformBufferArrayNonUniformIndexing,
        Capability::SampledImageArrayNonUniformIndexing,
        Capability::StorageBufferArrayNonUniformIndexing,
        Capability::StorageImageArrayNonUniformIndexing,
        Capability::InputAttachmentArrayNonUniformIndexing,
        Capability::UniformTexelBufferArrayNonUniformIndexing,
        Capability::StorageTexelBufferArrayNonUniformIndexing,
        Capability::ImageGatherExtended,
        Capability::StorageImageMultisample,
        Capability::ImageCubeArray,
        Capability::ImageRect,
        Capability::SampledRect,
        Capability::InputAttachment,
        Capability::SparseResidency,
        Capability::MinLod,
        Capability::Sampled1D,
        Capability::Image1D,
        Capability::SampledCubeArray,
        Capability::SampledBuffer,
        Capability::ImageBuffer,
        Capability::ImageMSArray,
        Capability::StorageImageExtendedFormats,
        Capability::ImageQuery,
        Capability::StorageImageReadWithoutFormat,
        Capability::StorageImageWriteWithoutFormat,
        Capability::Int64ImageEXT,
    ];
    const START: usize = crate::reflect::module::HEADER_WORDS;

    fn op(op: Op, operands: &[u32]) -> Vec<u32> {
        let length = u32::try_from(operands.len() + 1).unwrap();
        [&[length << 16 | op as u32], operands].concat()
    }

    /// A kernel with more declarations, and its last word of capabilities.
    fn declaring(capability: Capability, declared: &[u32]) -> Vec<u32> {
        let mut words = saxpy::Kernel::words().to_vec();
        let function = instructions(&words).unwrap().map(Result::unwrap);
        let function = function.filter(|i| i.op == Some(Op::Function)).map(|i| i.word).next();
        let function = function.unwrap();
        words.splice(function..function, declared.iter().copied());
        words.splice(START..START, op(Op::Capability, &[capability as u32]));
        words
    }

    #[test]
    fn what_nothing_bound_needs_is_not_asked_of_a_device() {
        let plain = Reflection::of(saxpy::Kernel::words()).unwrap();
        for capability in DECLARED {
            let words = declaring(capability, &[]);
            let trimmed = without_unused_capabilities(&words);
            assert_eq!(trimmed.len(), words.len(), "positions stay");
            let found = Reflection::of(&trimmed).unwrap().capabilities;
            assert!(!found.contains(&capability), "{capability:?}");
            assert!(found.iter().all(|found| plain.capabilities.contains(found)));
        }
    }

    #[test]
    fn what_is_used_is_still_asked_for() {
        // A capability that any kernel may use, a bound buffer, and the type of an image.
        let words = declaring(Capability::Float64, &[]);
        assert!(matches!(without_unused_capabilities(&words), Cow::Borrowed(_)));
        let bound = op(Op::Variable, &[1, 9999, StorageClass::StorageBuffer as u32]);
        for (capability, declared) in [
            (Capability::RuntimeDescriptorArray, &bound),
            (Capability::Image1D, &bound),
            (Capability::Image1D, &op(Op::TypeImage, &[9999, 1, 0, 0, 0, 0, 1, 0])),
        ] {
            let words = declaring(capability, declared);
            assert_eq!(without_unused_capabilities(&words), words, "{capability:?}");
        }
    }

    #[test]
    fn decorations_go_with_their_capability() {
        let words = declaring(Capability::ShaderNonUniform, &[]);
        let decoration = op(Op::Decorate, &[1, Decoration::NonUniform as u32]);
        let at = instructions(&words).unwrap().map(Result::unwrap);
        let at = at.filter(|i| i.op == Some(Op::Decorate)).map(|i| i.word).next().unwrap();
        let mut decorated = words.clone();
        decorated.splice(at..at, decoration);
        assert_eq!(without_unused_capabilities(&decorated), without_unused_capabilities(&words));
    }

    #[test]
    fn other_words_are_given_back() {
        for words in [&[][..], &[1, 2, 3], gather::Kernel::words()] {
            assert!(matches!(without_unused_capabilities(words), Cow::Borrowed(_)));
        }
    }
}
