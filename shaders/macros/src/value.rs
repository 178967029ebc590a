//! Values in push constants: their Rust types, and how they are put there.

use crate::checks::Checks;
use crate::names::{check_number, named, number, plain_number, vector};
use farptr_rewrite::{Layout, Number};
use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::{Error, Expr, Lit, Result, Type};

/// A value that is passed by its bytes.
#[derive(Debug)]
pub(crate) enum Value {
    /// Its first bytes are as the kernel has them.
    Plain { of: TokenStream, bytes: u32 },
    /// A word that is 0 or 1.
    Bool,
    /// Values that lie some bytes apart.
    Repeated { element: Box<Value>, length: u32, stride_bytes: u32 },
}

impl Value {
    /// The value for a layout, of a type that the user gives or of the one that fits. `name` is
    /// that of the argument.
    pub(crate) fn new(
        name: &str,
        layout: &Layout,
        given: Option<&Type>,
        checks: &mut Checks,
    ) -> Result<Self> {
        let given = given.filter(|of| !matches!(of, Type::Infer(_)));
        match (layout, given) {
            (
                Layout::Array { element, length: Some(length), stride_bytes },
                None | Some(Type::Array(_)),
            ) => {
                let of = element_type(name, given, *length)?;
                let element = Self::new(name, element, of, checks)?.into();
                Ok(Self::Repeated { element, length: *length, stride_bytes: *stride_bytes })
            }
            (Layout::Struct(structure), given) => {
                let of = match given {
                    Some(of) => quote!(#of),
                    None => named(name, structure, checks.span)?,
                };
                checks.at_least(&of, structure.size_bytes(), name);
                checks.fields(&of, structure);
                Ok(Self::Plain { of, bytes: structure.size_bytes() })
            }
            (layout, Some(of)) => Self::given(name, layout, of, checks),
            (Layout::Matrix { of, vectors, count, stride_bytes, .. }, None) => {
                let (of, bytes) = vector(*of, *count, checks.span)?;
                let element = Self::Plain { of, bytes }.into();
                Ok(Self::Repeated { element, length: *vectors, stride_bytes: *stride_bytes })
            }
            (Layout::Vector { of, count }, None) => {
                let (of, bytes) = vector(*of, *count, checks.span)?;
                Ok(Self::Plain { of, bytes })
            }
            (Layout::Number(of), None) => {
                Ok(Self::Plain { of: number(*of, checks.span)?, bytes: of.size_bytes() })
            }
            (Layout::Pointer { .. }, None) => Ok(Self::Plain { of: quote!(u64), bytes: 8 }),
            (Layout::Array { .. }, None) => {
                Err(Error::new(checks.span, format!("the length of `{name}` is not fixed")))
            }
        }
    }

    /// A value of the user's type that is no structure to the kernel.
    fn given(name: &str, layout: &Layout, of: &Type, checks: &mut Checks) -> Result<Self> {
        let bytes = layout.size_bytes();
        if let (Layout::Number(found), Some(given)) = (layout, plain_number(of)) {
            if given == "bool" && *found == (Number::Int { bits: 32, signed: false }) {
                return Ok(Self::Bool);
            }
            check_number(name, *found, &given, checks.span)?;
        }
        let of = quote!(#of);
        checks.exactly(&of, bytes, name);
        Ok(Self::Plain { of, bytes })
    }

    /// Its Rust type.
    pub(crate) fn of(&self) -> TokenStream {
        match self {
            Self::Plain { of, .. } => of.clone(),
            Self::Bool => quote!(bool),
            Self::Repeated { element, length, .. } => {
                let (of, length) = (element.of(), Literal::u32_unsuffixed(*length));
                quote!([#of; #length])
            }
        }
    }

    /// The statement that puts it at a byte of the push constants.
    pub(crate) fn put(&self, value: &TokenStream, at: &TokenStream) -> TokenStream {
        match self {
            Self::Plain { bytes, .. } => {
                let bytes = Literal::u32_unsuffixed(*bytes);
                quote!(::farptr::macro_support::put(&mut push, #at, &#value, #bytes);)
            }
            Self::Bool => quote! {
                let word = ::core::primitive::u32::from(#value);
                ::farptr::macro_support::put(&mut push, #at, &word, 4);
            },
            Self::Repeated { element, stride_bytes, .. } => {
                let stride = Literal::u32_unsuffixed(*stride_bytes);
                let put = element.put(&quote!(part), &quote!(at));
                quote! {
                    for (index, part) in #value.into_iter().enumerate() {
                        let at = #at + index * #stride;
                        #put
                    }
                }
            }
        }
    }
}

/// The type of the elements of an array, if the user gives it.
fn element_type<'t>(name: &str, given: Option<&'t Type>, length: u32) -> Result<Option<&'t Type>> {
    let Some(Type::Array(of)) = given else { return Ok(None) };
    check_length(name, &of.len, length)?;
    Ok(Some(&of.elem))
}

/// Refuses an array of another length than the kernel's, where the length is a literal.
fn check_length(name: &str, given: &Expr, length: u32) -> Result<()> {
    let Expr::Lit(literal) = given else { return Ok(()) };
    let Lit::Int(number) = &literal.lit else { return Ok(()) };
    if number.base10_parse::<u32>()? == length {
        return Ok(());
    }
    let text = format!("`{name}` has {length} elements in the kernel, not {number}");
    Err(Error::new(number.span(), text))
}
