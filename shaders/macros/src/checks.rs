//! Assertions that compare the user's types with the kernel when the crate is compiled.

use crate::names::{ident, with_lifetime};
use farptr_rewrite::{Layout, Structure};
use proc_macro2::{Literal, Span, TokenStream};
use quote::{quote, quote_spanned};

/// Assertions about the types of one argument. Their errors point to one place.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) span: Span,
    pub(crate) code: Vec<TokenStream>,
}

impl Checks {
    pub(crate) fn new(span: Span) -> Self {
        Self { span, code: Vec::new() }
    }

    fn assert(&mut self, condition: &TokenStream, text: &str) {
        self.code
            .push(quote_spanned! {self.span=> const _: () = ::core::assert!(#condition, #text); });
    }

    /// A type has exactly so many bytes.
    pub(crate) fn exactly(&mut self, of: &TokenStream, bytes: u32, name: &str) {
        let text = format!("`{name}` has {bytes} bytes in the kernel, and `{}` not", show(of));
        self.size(of, bytes, &text);
    }

    /// A type has at least so many bytes.
    pub(crate) fn at_least(&mut self, of: &TokenStream, bytes: u32, name: &str) {
        let text = format!("`{name}` has {bytes} bytes in the kernel, and `{}` fewer", show(of));
        let (of, bytes) = (fixed(of), Literal::u32_unsuffixed(bytes));
        self.assert(&quote_spanned!(self.span=> ::core::mem::size_of::<#of>() >= #bytes), &text);
    }

    /// Elements of a type lie so many bytes apart.
    pub(crate) fn apart(&mut self, of: &TokenStream, bytes: u32, name: &str) {
        let text = format!(
            "what `{name}` points to lies {bytes} bytes apart in the kernel; `{}` has another size",
            show(of)
        );
        self.size(of, bytes, &text);
    }

    fn size(&mut self, of: &TokenStream, bytes: u32, text: &str) {
        let (of, bytes) = (fixed(of), Literal::u32_unsuffixed(bytes));
        self.assert(&quote_spanned!(self.span=> ::core::mem::size_of::<#of>() == #bytes), text);
    }

    /// A type is aligned as the kernel promises.
    pub(crate) fn aligned(&mut self, of: &TokenStream, bytes: u32, name: &str) {
        let text = format!(
            "the kernel promises that what `{name}` points to is aligned to {bytes} bytes, and \
             `{}` is aligned to fewer: write `#[repr(C, align({bytes}))]` at a type of yours, or a \
             smaller buffer_reference_align in the kernel",
            show(of)
        );
        let (of, bytes) = (fixed(of), Literal::u32_unsuffixed(bytes));
        self.assert(&quote_spanned!(self.span=> ::core::mem::align_of::<#of>() >= #bytes), &text);
    }

    /// The fields of a type are where the kernel has the members of a structure, and as large.
    pub(crate) fn fields(&mut self, of: &TokenStream, structure: &Structure) {
        self.fields_within(of, structure, &TokenStream::new(), "", 0);
    }

    /// As [`fields`](Self::fields), for a structure inside, which `path` leads to.
    fn fields_within(
        &mut self,
        of: &TokenStream,
        structure: &Structure,
        path: &TokenStream,
        path_name: &str,
        start: u32,
    ) {
        for member in &structure.members {
            let Some(field) = ident(&member.name, self.span) else { continue };
            // A field for elements behind the structure need not be there.
            if matches!(member.layout, Layout::Array { length: None, .. }) {
                continue;
            }
            let (path, name) =
                (quote_spanned!(self.span=> #path #field), format!("{path_name}{}", member.name));
            let at = start.saturating_add(member.offset_bytes);
            self.offset(of, &path, &name, at);
            if let Layout::Struct(inner) = &member.layout {
                let path = quote_spanned!(self.span=> #path.);
                self.fields_within(of, inner, &path, &format!("{name}."), at);
            } else {
                self.field_size(of, &path, &name, member.layout.size_bytes());
            }
        }
    }

    fn offset(&mut self, of: &TokenStream, path: &TokenStream, name: &str, at: u32) {
        let text = format!("field `{name}` of `{}` is at byte {at} in the kernel", show(of));
        let (of, at) = (fixed(of), Literal::u32_unsuffixed(at));
        let condition = quote_spanned!(self.span=> ::core::mem::offset_of!(#of, #path) == #at);
        self.assert(&condition, &text);
    }

    fn field_size(&mut self, of: &TokenStream, path: &TokenStream, name: &str, bytes: u32) {
        let text = format!("field `{name}` of `{}` has {bytes} bytes in the kernel", show(of));
        let (of, bytes) = (fixed(of), Literal::u32_unsuffixed(bytes));
        let size = quote_spanned! {self.span=>
            ::farptr::macro_support::size_of_field(|whole: &#of| &whole.#path)
        };
        self.assert(&quote_spanned!(self.span=> #size == #bytes), &text);
    }
}

/// A type with `'static` for its lifetimes, which change neither sizes nor places.
fn fixed(of: &TokenStream) -> TokenStream {
    with_lifetime(of, &quote!('static), |_| true)
}

/// A type as a user writes it.
pub(crate) fn show(of: &TokenStream) -> String {
    let text = of.to_string().replace(":: core :: primitive :: ", "");
    text.replace(" :: ", "::").replace(" ;", ";").replace("< ", "<").replace(" >", ">")
}
