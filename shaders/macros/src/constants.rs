//! The specialisation constants of a kernel, as a type with a field for each.

use crate::names::ident;
use farptr_rewrite::{SpecConstant, SpecValue};
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Result};

/// A constant, and the field that has its value.
#[derive(Debug)]
pub(crate) struct Constant {
    field: Ident,
    found: SpecConstant,
}

impl Constant {
    /// The constants that a module lists. Errors point to `span`.
    pub(crate) fn all(found: &[SpecConstant], span: Span) -> Result<Vec<Self>> {
        let mut constants: Vec<Self> = Vec::new();
        for found in found {
            if let Some(other) = constants.iter().find(|other| other.found.id == found.id) {
                let text = format!(
                    "{found} is declared twice, as `{}` of type {} and as `{}` of type {}; declare \
                     it once, or with the same value",
                    other.found.default,
                    other.found.default.type_name(),
                    found.default,
                    found.default.type_name()
                );
                return Err(Error::new(span, text));
            }
            let mut field = field(found);
            while constants.iter().any(|other| other.field == field) {
                field = format_ident!("{}_{}", field, found.id);
            }
            constants.push(Self { field, found: found.clone() });
        }
        Ok(constants)
    }

    fn doc(&self) -> String {
        let SpecConstant { id, name, default, .. } = &self.found;
        let named = if name.is_empty() { String::new() } else { format!(", `{name}`") };
        let bits = match default {
            SpecValue::F16(_) => ", a number of 16 bits by its bits",
            _ => "",
        };
        format!("Constant {id} of the kernel{named}{bits}: {default} unless set.")
    }
}

/// The field of a constant: its name in Rust's way of writing, or its number.
fn field(constant: &SpecConstant) -> Ident {
    let by_number = || format_ident!("constant_{}", constant.id);
    ident(&snake_case(&constant.name), Span::call_site()).unwrap_or_else(by_number)
}

/// `TILE_SIZE` and `tileSize` as `tile_size`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut before = '_';
    for letter in name.chars() {
        let begins_word = letter.is_uppercase() && (before.is_lowercase() || before.is_numeric());
        if begins_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
        before = letter;
    }
    snake
}

/// The type of the constants, and how it becomes values; nothing if there are none.
pub(crate) fn code(constants: &[Constant]) -> TokenStream {
    if constants.is_empty() {
        return TokenStream::new();
    }
    let docs = constants.iter().map(Constant::doc);
    let fields: Vec<_> = constants.iter().map(|constant| &constant.field).collect();
    let types = constants.iter().map(|constant| field_type(constant.found.default));
    let defaults = constants.iter().map(|constant| literal(constant.found.default));
    let ids = constants.iter().map(|constant| Literal::u32_unsuffixed(constant.found.id));
    let variants = constants.iter().map(|constant| variant(constant.found.default));
    quote! {
        /// Values for the specialisation constants of the kernel.
        ///
        /// `Runtime::specialized` makes a kernel with them; `Default` has the kernel's own values.
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #[derive(::core::cmp::PartialEq)]
        pub struct Constants {
            #(#[doc = #docs] pub #fields: #types,)*
        }

        impl ::core::default::Default for Constants {
            fn default() -> Self {
                Self { #(#fields: #defaults,)* }
            }
        }

        impl ::farptr::SpecializedDesc for Kernel {
            type Constants = Constants;

            fn constants(
                values: Constants,
            ) -> ::std::vec::Vec<(::core::primitive::u32, ::farptr::SpecValue)> {
                ::std::vec![#((#ids, ::farptr::SpecValue::#variants(values.#fields)),)*]
            }
        }
    }
}

/// The type of a field. Rust has no stable type for floating-point numbers of 16 bits.
fn field_type(of: SpecValue) -> TokenStream {
    let name = match of {
        SpecValue::F16(_) => "u16",
        _ => of.type_name(),
    };
    let name = Ident::new(name, Span::call_site());
    quote!(::core::primitive::#name)
}

/// The variant of `SpecValue` for a type.
fn variant(of: SpecValue) -> Ident {
    let (first, rest) = of.type_name().split_at(1);
    format_ident!("{}{}", first.to_uppercase(), rest)
}

/// A value as an expression. Floating-point numbers are given by their bits, because not every one
/// can be written.
fn literal(value: SpecValue) -> TokenStream {
    match value {
        SpecValue::Bool(value) => quote!(#value),
        SpecValue::I8(value) => quote!(#value),
        SpecValue::I16(value) => quote!(#value),
        SpecValue::I32(value) => quote!(#value),
        SpecValue::I64(value) => quote!(#value),
        SpecValue::U8(value) => quote!(#value),
        SpecValue::U16(value) | SpecValue::F16(value) => quote!(#value),
        SpecValue::U32(value) => quote!(#value),
        SpecValue::U64(value) => quote!(#value),
        SpecValue::F32(value) => {
            let bits = value.to_bits();
            quote!(::core::primitive::f32::from_bits(#bits))
        }
        SpecValue::F64(value) => {
            let bits = value.to_bits();
            quote!(::core::primitive::f64::from_bits(#bits))
        }
        // The type may get values that this crate does not know yet; none has a name here.
        _ => quote!(::core::compile_error!("a constant of a type that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(id: u32, name: &str, default: impl Into<SpecValue>) -> SpecConstant {
        SpecConstant::new(id, name, default.into())
    }

    #[test]
    fn fields_have_rust_s_way_of_writing() {
        for (name, expected) in [
            ("WIDTH", "width"),
            ("TILE_SIZE", "tile_size"),
            ("tileSize", "tile_size"),
            ("kFast2D", "k_fast2_d"),
            ("type", "r#type"),
            ("self", "constant_7"),
            ("", "constant_7"),
            ("a b", "constant_7"),
        ] {
            assert_eq!(field(&constant(7, name, 1u32)).to_string(), expected, "{name}");
        }
    }

    #[test]
    fn equal_names_are_told_apart_and_equal_numbers_refused() {
        let named = |id, name| constant(id, name, 1u32);
        let all = [named(1, "N"), named(2, "n_4"), named(4, "n"), named(5, "n")];
        let all = Constant::all(&all, Span::call_site()).unwrap();
        let fields: Vec<_> = all.iter().map(|constant| constant.field.to_string()).collect();
        assert_eq!(fields, ["n", "n_4", "n_4_4", "n_5"]);
        let twice = [named(1, "N"), constant(1, "M", 2u32)];
        let error = Constant::all(&twice, Span::call_site()).unwrap_err().to_string();
        assert!(error.contains("constant 1 (`M`) is declared twice, as `1`"), "{error}");
    }

    #[test]
    fn a_kernel_without_constants_has_no_type_for_them() {
        assert!(code(&[]).is_empty());
    }
}
