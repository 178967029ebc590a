//! The derives of the traits that say what can be lent.
//!
//! # Safety
//!
//! The generated code implements `Lendable` or `LendableMut`. Their promises: 1. No byte is
//! uninitialised: the type is a structure, each field keeps the promise, and an assertion says that
//! there is nothing behind any field but the next one. 2. No interior mutability, or: any bytes are
//! a value. Each field keeps that, too. The author of the type, who writes the derive, decides that
//! no unsafe code relies on the fields' values.

use crate::names::with_lifetime;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, GenericParam, Index, Result};
use syn::{meta::ParseNestedMeta, spanned::Spanned};

/// The trait that is derived.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trait {
    Lendable,
    LendableMut,
}

impl Trait {
    /// Its name, and that of the function that asks for it.
    fn names(self) -> (TokenStream, TokenStream) {
        match self {
            Self::Lendable => (quote!(Lendable), quote!(lendable)),
            Self::LendableMut => (quote!(LendableMut), quote!(lendable_mut)),
        }
    }

    /// The trait of `bytemuck` that makes the derive needless, and the constant that tells.
    fn plain(self) -> (&'static str, TokenStream) {
        match self {
            Self::Lendable => ("bytemuck::NoUninit", quote!(NO_UNINIT)),
            Self::LendableMut => ("bytemuck::Pod", quote!(POD)),
        }
    }
}

/// The implementation for a type, and the assertions that prove its promises.
pub(crate) fn code(input: &DeriveInput, derived: Trait) -> Result<TokenStream> {
    let fields = fields(input)?;
    let is_transparent = check_layout(&input.attrs, input.ident.span())?;
    check_parameters(input)?;
    let (name, (of_trait, function)) = (&input.ident, derived.names());
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    let whole = with_lifetime(&quote!(#name #arguments), &quote!('static), |_| true);
    let asked = fields.iter().map(|field| {
        let of = &field.ty;
        quote_spanned!(of.span()=> ::farptr::macro_support::#function::<#of, _>();)
    });
    let padding = if is_transparent { Vec::new() } else { padding(input, fields) };
    let (plain, flag) = derived.plain();
    let written = matches!(derived, Trait::LendableMut);
    let proof = quote!(::farptr::macro_support::Proof<#written>);
    let needless = format!(
        "`{name}` is `{plain}`, and can be lent as it is: leave out the derive of `{of_trait}`"
    );
    Ok(quote! {
        const _: () = {
            impl #parameters #proof for #name #arguments #bounds {
                const NO_PADDING: () = { #(#padding)* };

                fn fields() {
                    #(#asked)*
                }
            }

            const _: () = <#whole as #proof>::NO_PADDING;
            const _: () = {
                #[allow(unused_imports)]
                use ::farptr::macro_support::NotPlain as _;
                ::core::assert!(!::farptr::macro_support::Plainness::<#whole>::#flag, #needless);
            };

            // SAFETY: 1. and 2. each field keeps the promises, as `fields` shows, and there is no
            // padding, as `NO_PADDING` shows.
            unsafe impl #parameters ::farptr::#of_trait<::farptr::kind::Declared>
                for #name #arguments #bounds
            {
            }
        };
    })
}

/// The fields of a structure.
fn fields(input: &DeriveInput) -> Result<&Fields> {
    let text = match &input.data {
        Data::Struct(data) => return Ok(&data.fields),
        Data::Enum(_) => {
            "an enum cannot be lent so: not every number is one of its variants. Hold an integer \
             in its place, and make the variant of it in Rust. For reading alone, an enum without \
             fields can be lent by `#[derive(bytemuck::NoUninit)]`"
        }
        Data::Union(_) => {
            "a union cannot be lent: bytes of it may be uninitialised. Hold its largest field in \
             its place, or an array of integers"
        }
    };
    Err(Error::new(input.ident.span(), text))
}

/// Whether the layout is that of the only field; an error if it is not defined.
fn check_layout(attributes: &[Attribute], span: Span) -> Result<bool> {
    let (mut is_c, mut is_transparent) = (false, false);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta: ParseNestedMeta<'_>| {
            is_c |= meta.path.is_ident("C");
            is_transparent |= meta.path.is_ident("transparent");
            if meta.input.peek(syn::token::Paren) {
                let inside;
                syn::parenthesized!(inside in meta.input);
                inside.parse::<TokenStream>()?;
            }
            Ok(())
        })?;
    }
    if is_c || is_transparent {
        return Ok(is_transparent);
    }
    let text = "write `#[repr(C)]` at the type: without it Rust may lay the fields out in any \
                order, and a kernel cannot know where they are";
    Err(Error::new(span, text))
}

/// Refuses parameters other than lifetimes.
fn check_parameters(input: &DeriveInput) -> Result<()> {
    let is_checkable = |parameter: &&GenericParam| !matches!(parameter, GenericParam::Lifetime(_));
    let Some(parameter) = input.generics.params.iter().find(is_checkable) else { return Ok(()) };
    let text = "a type with parameters cannot be checked for padding before it is used: write a \
                type for each use, or promise it by `unsafe impl farptr::Lendable<\
                farptr::kind::Declared>` for each";
    Err(Error::new(parameter.span(), text))
}

/// Assertions that each field of a type with the layout of C ends where the next one begins.
fn padding(input: &DeriveInput, fields: &Fields) -> Vec<TokenStream> {
    let names: Vec<TokenStream> =
        fields.iter().enumerate().map(|(index, field)| name(index, field)).collect();
    let ends = names.iter().skip(1).map(Some).chain([None]);
    let pairs = fields.iter().zip(&names).zip(ends);
    let assertions = pairs.map(|((field, at), next)| {
        let of = &field.ty;
        let text = format!(
            "`{}` has uninitialised padding behind its field `{at}`: add a field that fills it, \
             such as `unused: u32`, or put larger fields first",
            input.ident
        );
        let end = match next {
            Some(next) => quote!(::core::mem::offset_of!(Self, #next)),
            None => quote!(::core::mem::size_of::<Self>()),
        };
        quote_spanned! {field.span()=>
            ::core::assert!(
                ::core::mem::offset_of!(Self, #at) + ::core::mem::size_of::<#of>() == #end,
                #text
            );
        }
    });
    assertions.collect()
}

/// A field as `offset_of` names it.
fn name(index: usize, field: &Field) -> TokenStream {
    field.ident.as_ref().map_or_else(|| Index::from(index).to_token_stream(), |name| quote!(#name))
}
