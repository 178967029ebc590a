//! The code that the macro generates.
//!
//! # Safety
//!
//! The generated code implements `KernelDesc`. Its promises: 1. The words are valid, because
//! shaderc made them, or because the user says so with the word `unsafe`. 2. The push constants are
//! words into which each argument is put at the offset that those very words declare.

use crate::checks::show;
use crate::constants;
use crate::input::{Input, Source};
use crate::module::Module;
use crate::names::with_lifetime;
use crate::place;
use crate::plan::{Argument, Kind, Plan};
use proc_macro2::{Literal, Span, TokenStream};
use quote::{quote, quote_spanned};

/// The module with the kernel.
pub(crate) fn code(input: &Input, module: &Module, plan: &Plan) -> TokenStream {
    let (attributes, visibility, name) = (&input.attributes, &input.visibility, &input.name);
    let documented = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
    let doc = (!documented).then(|| {
        let text = format!("A kernel from {}.", module.origin);
        quote!(#[doc = #text])
    });
    let [x, y, z] = module.reflection.local_size;
    let about = format!("The kernel as a type, from {}.", module.origin);
    let unless = if plan.constants.is_empty() { "" } else { ", unless constants say otherwise" };
    let size = format!("A workgroup has {x} x {y} x {z} invocations{unless}.");
    let files = module.files.iter().map(|file| {
        let file = place::name(file);
        quote!(
            const _: &[::core::primitive::u8] = ::core::include_bytes!(#file);
        )
    });
    let (arguments, implementation) =
        (arguments(plan, module), implementation(input, module, plan));
    let (constants, checks) = (constants::code(&plan.constants), &plan.checks);
    quote! {
        #(#attributes)*
        #doc
        #[allow(dead_code, private_interfaces, unreachable_pub, unused_imports)]
        #visibility mod #name {
            use super::*;

            #[doc = #about]
            #[doc = ""]
            #[doc = #size]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            pub struct Kernel;

            #arguments
            #implementation
            #constants
            #(#checks)*
            #(#files)*
        }
    }
}

/// The type of the arguments.
fn arguments(plan: &Plan, module: &Module) -> TokenStream {
    if plan.arguments.is_empty() {
        return quote! {
            /// The kernel has no arguments.
            pub type Args = ();
        };
    }
    let scope = scope(plan);
    let doc = format!(
        "The arguments of one launch: {} bytes of push constants.",
        module.reflection.push_bytes
    );
    let names: Vec<_> = plan.arguments.iter().map(|argument| &argument.name).collect();
    let types = plan.arguments.iter().map(field_type);
    let docs = plan.arguments.iter().map(field_doc);
    let shown =
        plan.arguments.iter().filter(|argument| matches!(argument.kind, Kind::Address { .. }));
    let shown = shown.map(|argument| {
        let (name, text) = (&argument.name, argument.name.to_string());
        quote!(.field(#text, &self.#name))
    });
    let unnamed = (!scope.is_empty()).then(|| quote!(<'_>));
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::marker::Copy)]
        pub struct Args #scope {
            #(#[doc = #docs] pub #names: #types,)*
        }

        impl ::core::fmt::Debug for Args #unnamed {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct("Args")#(#shown)*.finish_non_exhaustive()
            }
        }
    }
}

/// The lifetime of `Args`, if an argument needs it.
fn scope(plan: &Plan) -> TokenStream {
    let is_address = |argument: &Argument| matches!(argument.kind, Kind::Address { .. });
    if plan.arguments.iter().any(is_address) { quote!(<'s>) } else { TokenStream::new() }
}

fn field_type(argument: &Argument) -> TokenStream {
    let (to, writes, nullable) = match &argument.kind {
        Kind::Value(value) => return value.of(),
        Kind::Address { to, writes, nullable } => (to, *writes, *nullable),
    };
    let to = with_lifetime(to, &quote!('s), |name| name.to_string() == "_");
    let pointer =
        if writes { quote!(::farptr::PtrMut<'s, #to>) } else { quote!(::farptr::Ptr<'s, #to>) };
    if nullable { quote!(::core::option::Option<#pointer>) } else { pointer }
}

fn field_doc(argument: &Argument) -> String {
    let at = argument.offset_bytes;
    match &argument.kind {
        Kind::Value(value) => {
            let of = show(&value.of());
            // An address that a loop starts with and goes on from looks like a number.
            let address = match &*of.replace(' ', "") {
                "[u32;2]" | "u64" => format!(
                    " If it is an address, say so: `args: {{ {}: Ptr<T> }}`.",
                    argument.name
                ),
                _ => String::new(),
            };
            format!("Byte {at}: a value of type `{of}`.{address}")
        }
        Kind::Address { to, writes, nullable } => {
            let does = if *writes { "reads or writes" } else { "only reads" };
            let null = if *nullable { ", or null" } else { "" };
            format!("Byte {at}: the address of `{}` that the kernel {does}{null}.", show(to))
        }
    }
}

/// The implementation of `KernelDesc`.
fn implementation(input: &Input, module: &Module, plan: &Plan) -> TokenStream {
    let words = module.words.iter().map(|&word| Literal::u32_unsuffixed(word));
    let kernel = input.name.to_string();
    let kernel = kernel.trim_start_matches("r#");
    let entry = &module.reflection.entry;
    let length = module.reflection.push_word_bytes() / 4;
    let length = Literal::u32_unsuffixed(length);
    let scope = scope(plan);
    let puts = plan.arguments.iter().map(put);
    // The promise of SPIR-V is the user's, and so is the `unsafe`: lints see it.
    let promised = match input.kernel {
        Source::Spirv(_, promise) | Source::Words(_, promise) => promise,
        Source::Path(_) | Source::Text(_) => Span::call_site(),
    };
    quote_spanned! {promised=>
        // Clippy looks for a comment in the user's code, and does not find it beside `unsafe spv`.
        #[allow(clippy::undocumented_unsafe_blocks)]
        // SAFETY: 1. a compiler made the words from GLSL, or the user promises that they are valid;
        // 2. the push constants were laid out by those very words.
        unsafe impl ::farptr::KernelDesc for Kernel {
            const NAME: &'static ::core::primitive::str = #kernel;
            const ENTRY: ::core::option::Option<&'static ::core::primitive::str> =
                ::core::option::Option::Some(#entry);
            type Args<'s> = Args #scope;
            type Push = [::core::primitive::u32; #length];

            fn words() -> &'static [::core::primitive::u32] {
                static WORDS: &[::core::primitive::u32] = &[#(#words),*];
                WORDS
            }

            #[allow(clippy::all, unused_mut, unused_variables)]
            fn push(args: Self::Args<'_>) -> Self::Push {
                let mut push = [0; #length];
                #(#puts)*
                push
            }
        }
    }
}

/// The statement that puts an argument into the push constants.
fn put(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    let at = Literal::u32_unsuffixed(argument.offset_bytes);
    match &argument.kind {
        Kind::Value(value) => value.put(&quote!(args.#name), &quote!(#at)),
        Kind::Address { nullable, .. } => {
            let address = if *nullable {
                quote!(args.#name.map_or(0, |pointer| pointer.address()))
            } else {
                quote!(args.#name.address())
            };
            // A kernel takes the low word first, as this machine does.
            quote!(::farptr::macro_support::put(&mut push, #at, &#address, 8);)
        }
    }
}
