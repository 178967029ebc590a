//! Rust's names for what a kernel has: identifiers, numbers, vectors, structures.

use farptr_rewrite::{Number, Structure};
use proc_macro2::{Group, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Error, Result, Type};

/// The numbers that Rust has names for.
const NUMBERS: [&str; 11] =
    ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "bool"];

/// The name of a structure as a type, if it can be one.
pub(crate) fn named(name: &str, structure: &Structure, span: Span) -> Result<TokenStream> {
    match syn::parse_str::<Ident>(&structure.name) {
        Ok(of) => {
            let of = Ident::new(&of.to_string(), span);
            Ok(quote!(#of))
        }
        Err(_) => {
            let text =
                format!("`{name}` is a structure; give its type: `args: {{ {name}: Type }}`");
            Err(Error::new(span, text))
        }
    }
}

/// An identifier for a name of the kernel.
pub(crate) fn ident(name: &str, span: Span) -> Option<Ident> {
    let parsed: Ident = syn::parse::Parser::parse_str(Ident::parse_any, name).ok()?;
    let name = parsed.to_string();
    if syn::parse_str::<Ident>(&name).is_ok() {
        return Some(Ident::new(&name, span));
    }
    // These cannot be made raw identifiers.
    let barred = matches!(&*name, "self" | "Self" | "super" | "crate" | "_");
    (!barred).then(|| Ident::new_raw(&name, span))
}

/// The Rust type of a number.
pub(crate) fn number(of: Number, span: Span) -> Result<TokenStream> {
    let letter = match of {
        Number::Int { bits: 8 | 16 | 32 | 64, signed: true } => 'i',
        Number::Int { bits: 8 | 16 | 32 | 64, signed: false } | Number::Float { bits: 16 } => 'u',
        Number::Float { bits: 32 | 64 } => 'f',
        _ => return Err(Error::new(span, format!("Rust has no type for {of:?}"))),
    };
    let of = format_ident!("{letter}{}", of.size_bytes() * 8);
    Ok(quote!(::core::primitive::#of))
}

/// The Rust type of a vector, and its size.
pub(crate) fn vector(of: Number, count: u32, span: Span) -> Result<(TokenStream, u32)> {
    let bytes = of.size_bytes().saturating_mul(count);
    let (of, count) = (number(of, span)?, Literal::u32_unsuffixed(count));
    Ok((quote!([#of; #count]), bytes))
}

/// The name of a type that is a number of Rust.
pub(crate) fn plain_number(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    let name = path.path.get_ident()?.to_string();
    NUMBERS.contains(&&*name).then_some(name)
}

/// Refuses a number of another type than the kernel's.
pub(crate) fn check_number(name: &str, found: Number, given: &str, span: Span) -> Result<()> {
    let fits = number(found, span)?.to_string().replace(' ', "");
    if fits == format!("::core::primitive::{given}") {
        return Ok(());
    }
    let fits = fits.rsplit("::").next().unwrap_or_default().to_owned();
    let text = format!("`{name}` is `{fits}` in the kernel, not `{given}`");
    Err(Error::new(span, text))
}

/// A type with another lifetime in place of those whose names are replaced.
pub(crate) fn with_lifetime(
    of: &TokenStream,
    lifetime: &TokenStream,
    is_replaced: fn(&TokenTree) -> bool,
) -> TokenStream {
    let mut tokens = of.clone().into_iter();
    let mut out = TokenStream::new();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match tokens.next() {
                Some(name) if is_replaced(&name) => out.extend(lifetime.clone()),
                name => out.extend([token].into_iter().chain(name)),
            },
            TokenTree::Group(group) => {
                let inside = with_lifetime(&group.stream(), lifetime, is_replaced);
                out.extend([TokenTree::from(Group::new(group.delimiter(), inside))]);
            }
            _ => out.extend([token]),
        }
    }
    out
}
