//! The declaration between the braces of the macro.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Error, GenericArgument, Ident, LitInt, LitStr, PathArguments, Result, Token, Type,
    Visibility, braced, bracketed, parenthesized,
};

/// A kernel as the user declares it.
#[cfg_attr(not(feature = "glsl"), allow(dead_code, reason = "GLSL alone includes and defines"))]
pub(crate) struct Input {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
    pub(crate) kernel: Source,
    /// Folders in which GLSL finds the files that it includes.
    pub(crate) include: Vec<LitStr>,
    /// Names that GLSL sees as defined, and their values.
    pub(crate) define: Vec<(LitStr, LitStr)>,
    pub(crate) entry: Option<LitStr>,
    pub(crate) args: Vec<Typed>,
}

/// The place of the kernel.
pub(crate) enum Source {
    /// A file with GLSL.
    Path(LitStr),
    /// GLSL.
    Text(LitStr),
    /// A file with SPIR-V, and the word `unsafe`.
    Spirv(LitStr, Span),
    /// SPIR-V, and the word `unsafe`.
    Words(Vec<LitInt>, Span),
}

/// An argument whose type the user gives.
pub(crate) struct Typed {
    pub(crate) name: Ident,
    pub(crate) of: Type,
    /// Whether it is a pointer for sure: `Ptr<T>` or `PtrMut<T>`.
    pub(crate) pointer: Option<Pointer>,
    /// Whether it may be null: `Option<T>`.
    pub(crate) nullable: bool,
}

/// The pointer type that the user gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// `Ptr<T>`
    Read,
    /// `PtrMut<T>`
    Write,
}

impl Source {
    /// The place to which errors about the kernel point.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Path(text) | Self::Text(text) | Self::Spirv(text, _) => text.span(),
            Self::Words(words, given) => words.first().map_or(*given, LitInt::span),
        }
    }
}

impl Parse for Typed {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let mut of: Type = input.parse()?;
        let nullable = inner(&of, "Option");
        of = nullable.clone().unwrap_or(of);
        let read = inner(&of, "Ptr").map(|of| (of, Pointer::Read));
        let pointer = read.or_else(|| inner(&of, "PtrMut").map(|of| (of, Pointer::Write)));
        let (of, pointer) = match pointer {
            Some((of, pointer)) => (of, Some(pointer)),
            None => (of, None),
        };
        Ok(Self { name, of, pointer, nullable: nullable.is_some() })
    }
}

/// The last type parameter of a type with this name.
fn inner(of: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = of else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().rev().find_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of.clone()),
        _ => None,
    })
}

/// The fields, as far as they were read.
#[derive(Default)]
struct Fields {
    kernel: Option<Source>,
    include: Vec<LitStr>,
    define: Vec<(LitStr, LitStr)>,
    entry: Option<LitStr>,
    args: Vec<Typed>,
}

impl Fields {
    fn read(&mut self, input: ParseStream<'_>, seen: &mut Vec<String>) -> Result<()> {
        let promise: Option<Token![unsafe]> = input.parse()?;
        let key: Ident = input.parse()?;
        input.parse::<Token![:]>()?;
        let name = key.to_string();
        if seen.contains(&name) {
            return Err(Error::new(key.span(), format!("`{name}` is given twice")));
        }
        let needs = matches!(&*name, "spv" | "words");
        match promise {
            None if needs => return Err(Error::new(key.span(), unpromised(&name))),
            Some(promise) if !needs => {
                let text = format!("`{name}` needs no promise; leave out `{PROMISE}`");
                return Err(Error::new(promise.span, text));
            }
            _ => {}
        }
        let promised = promise.map_or(key.span(), |promise| promise.span);
        match &*name {
            "path" => self.set_kernel(&key, Source::Path(input.parse()?))?,
            "source" => self.set_kernel(&key, Source::Text(input.parse()?))?,
            "spv" => self.set_kernel(&key, Source::Spirv(input.parse()?, promised))?,
            "words" => self.set_kernel(&key, Source::Words(list(input)?, promised))?,
            "include" => self.include = list(input)?,
            "define" => self.define = list::<Definition>(input)?.into_iter().map(|d| d.0).collect(),
            "entry" => self.entry = Some(input.parse()?),
            "args" => self.args = arguments(input)?,
            _ => {
                let text = format!(
                    "there is no `{name}` here; use `path`, `source`, `unsafe spv`, \
                     `unsafe words`, `include`, `define`, `entry` or `args`"
                );
                return Err(Error::new(key.span(), text));
            }
        }
        seen.push(name);
        Ok(())
    }

    fn set_kernel(&mut self, key: &Ident, source: Source) -> Result<()> {
        if self.kernel.is_some() {
            return Err(Error::new(key.span(), "the kernel is given twice; keep one of them"));
        }
        self.kernel = Some(source);
        Ok(())
    }
}

/// The word that makes a promise.
const PROMISE: &str = "unsafe";

/// Why words need a promise.
fn unpromised(key: &str) -> String {
    format!(
        "a driver trusts these words, and this macro did not compile them: write `{PROMISE} {key}: \
         …` to promise that `spirv-val --target-env vulkan1.2` accepts them"
    )
}

/// `("NAME", "value")`
struct Definition((LitStr, LitStr));

impl Parse for Definition {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let pair;
        parenthesized!(pair in input);
        let name = pair.parse()?;
        pair.parse::<Token![,]>()?;
        Ok(Self((name, pair.parse()?)))
    }
}

fn list<T: Parse>(input: ParseStream<'_>) -> Result<Vec<T>> {
    let items;
    bracketed!(items in input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&items)?.into_iter().collect())
}

fn arguments(input: ParseStream<'_>) -> Result<Vec<Typed>> {
    let items;
    braced!(items in input);
    Ok(Punctuated::<Typed, Token![,]>::parse_terminated(&items)?.into_iter().collect())
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !input.peek(Token![mod]) {
            let text = "begin with `mod NAME,`: the kernel becomes a module of that name";
            return Err(input.error(text));
        }
        input.parse::<Token![mod]>()?;
        let name: Ident = input.parse()?;
        let (mut fields, mut seen) = (Fields::default(), Vec::new());
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if !input.is_empty() {
                fields.read(input, &mut seen)?;
            }
        }
        let missing = "name the kernel: `path` or `source` (GLSL), `unsafe spv` or `unsafe words`";
        let kernel = fields.kernel.ok_or_else(|| Error::new(name.span(), missing))?;
        let Fields { include, define, entry, args, .. } = fields;
        Ok(Self { attributes, visibility, name, kernel, include, define, entry, args })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_str;

    fn complaint(text: &str) -> String {
        match parse_str::<Input>(text) {
            Ok(_) => panic!("it was accepted: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_field_is_read() {
        let text = r#"/// Doc.
            pub mod k, path: "k.comp", include: ["a", "b"], define: [("N", "4")], entry: "main",
            args: { x: f32, y: Option<Node>, z: PtrMut<u8>, w: Option<Ptr<_>> },"#;
        let input: Input = parse_str(text).unwrap();
        assert_eq!((input.name.to_string(), input.attributes.len()), ("k".to_owned(), 1));
        assert!(matches!(&input.kernel, Source::Path(path) if path.value() == "k.comp"));
        assert_eq!((input.include.len(), input.define.len()), (2, 1));
        let args: Vec<_> = input.args.iter().map(|arg| (arg.pointer, arg.nullable)).collect();
        let (read, write) = (Some(Pointer::Read), Some(Pointer::Write));
        assert_eq!(args, [(None, false), (None, true), (write, false), (read, true)]);
        assert!(matches!(input.args[3].of, Type::Infer(_)));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(complaint("path: \"k.comp\"").contains("begin with `mod NAME,`"));
        assert!(complaint("mod k").contains("name the kernel"));
        assert!(complaint("mod k, path: \"a\", source: \"b\"").contains("given twice"));
        assert!(complaint("mod k, entry: \"a\", entry: \"b\"").contains("`entry` is given twice"));
        assert!(complaint("mod k, pth: \"a\"").contains("there is no `pth` here"));
        assert!(complaint("mod k, spv: \"a\"").contains("write `unsafe spv: …`"));
        assert!(complaint("mod k, unsafe path: \"a\"").contains("leave out `unsafe`"));
    }
}
