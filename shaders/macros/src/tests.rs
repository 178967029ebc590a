//! The code that the macro generates, compared with what the shipped kernels declare by hand.

use crate::expand;
use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote};
use std::collections::BTreeMap;
use syn::{File, Item, ItemMod, Type};

/// The source of the crate with the shipped kernels.
const SHIPPED: &str = include_str!("../../kernels/src/kernels.rs");

/// A pointer to addresses that a kernel reads.
const ADDRESSES: &str = "::farptr::Ptr<'s,::core::primitive::u64>";

fn shipped(name: &str) -> &'static [u32] {
    let all = farptr_kernels::all();
    all.into_iter().find(|kernel| kernel.0 == name).expect("it is shipped").1
}

/// The tokens that declare a kernel by its words.
fn declaration(words: &[u32], rest: &TokenStream) -> TokenStream {
    let words = words.iter().map(|&word| Literal::u32_unsuffixed(word));
    quote!(mod kernel, unsafe words: [#(#words),*], #rest)
}

fn generated(words: &[u32], rest: &TokenStream) -> ItemMod {
    let code = expand(declaration(words, rest)).unwrap_or_else(|error| panic!("{error}"));
    let file: File = syn::parse2(code).expect("the code is well-formed");
    let [Item::Mod(module)] = &file.items[..] else { panic!("not one module") };
    module.clone()
}

fn complaint(words: &[u32], rest: &TokenStream) -> String {
    let code = expand(declaration(words, rest));
    code.map(|code| panic!("it was accepted: {code}")).unwrap_err().to_string()
}

/// The fields of `Args`, with their types as text.
fn fields(module: &ItemMod) -> BTreeMap<String, String> {
    let items = module.content.iter().flat_map(|(_, items)| items);
    let args = items.filter_map(|item| match item {
        Item::Struct(item) if item.ident == "Args" => Some(item),
        _ => None,
    });
    let fields = args.flat_map(|args| &args.fields);
    let text = |of: &Type| of.to_token_stream().to_string().replace(' ', "");
    fields.map(|f| (f.ident.as_ref().expect("named").to_string(), text(&f.ty))).collect()
}

/// The arguments of the shipped kernels as they were declared by hand: their names, and the first
/// word of their types.
fn by_hand() -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for declared in SHIPPED.split("\nkernel! {").skip(1) {
        let (head, rest) = declared.split_once("Args {").expect("arguments");
        let head = head.lines().find(|line| line.contains(".comp")).expect("the file");
        let (name, _) = head.trim().split_once(',').expect("the name");
        let (args, _) = rest.split_once("\n    }").expect("the end");
        let fields = args.lines().filter(|line| !line.contains("///"));
        let fields = fields.filter_map(|line| line.trim().split_once(": "));
        let kind = |of: &str| of.split(['<', ',']).next().unwrap_or_default().to_owned();
        found.insert(name, fields.map(|(name, of)| (name.to_owned(), kind(of))).collect());
    }
    found
}

#[test]
fn shipped_kernels_get_the_arguments_that_were_declared_by_hand() {
    let all = by_hand();
    assert_eq!(all.len(), 15);
    for (name, declared) in all {
        // These addresses are where a loop begins, which goes on from others.
        let rest = match name {
            "probe" => quote!(args: { head: Ptr<u64> }),
            "walk" => quote!(args: { start: PtrMut<Node> }),
            _ => quote!(),
        };
        let kinds = fields(&generated(shipped(name), &rest)).into_iter().map(|(name, of)| {
            let of = of.trim_start_matches("::farptr::");
            let of = of.trim_start_matches("::core::primitive::");
            (name, of.split('<').next().unwrap_or_default().to_owned())
        });
        assert_eq!(kinds.collect::<BTreeMap<_, _>>(), declared, "{name}");
    }
}

#[test]
fn pointers_lead_to_what_the_kernel_finds_there() {
    let found = fields(&generated(shipped("saxpy4"), &quote!()));
    assert_eq!(found["x"], "::farptr::Ptr<'s,[::core::primitive::f32;4]>");
    let found = fields(&generated(shipped("saxpy4"), &quote!(args: { x: F32x4, y: Option<_> })));
    assert_eq!(found["x"], "::farptr::Ptr<'s,F32x4>");
    let y = "::core::option::Option<::farptr::PtrMut<'s,[::core::primitive::f32;4]>>";
    assert_eq!(found["y"], y);
    assert_eq!(fields(&generated(shipped("bfs"), &quote!()))["frontier"], ADDRESSES);
    // A pointer that is never followed as an argument is two numbers.
    assert_eq!(
        fields(&generated(shipped("walk"), &quote!()))["start"],
        "[::core::primitive::u32;2]"
    );
}

#[test]
fn the_code_is_documented_and_as_long_as_the_push_constants() {
    let code = generated(shipped("saxpy"), &quote!()).to_token_stream().to_string();
    assert!(code.contains("Byte 20: a value of type `f32`."), "{code}");
    assert!(code.contains("Byte 0: the address of `f32` that the kernel only reads."), "{code}");
    assert!(code.contains("A workgroup has 64 x 1 x 1 invocations."), "{code}");
    assert!(code.contains("type Push = [:: core :: primitive :: u32 ; 6]"), "{code}");
    let walk = generated(shipped("walk"), &quote!()).to_token_stream().to_string();
    assert!(walk.contains("If it is an address, say so: `args: { start: Ptr<T> }`."), "{walk}");
    let none = generated(shipped("empty"), &quote!());
    assert!(none.to_token_stream().to_string().contains("pub type Args = ()"));
}

/// The words without the names.
fn stripped(words: &[u32]) -> Vec<u32> {
    let (mut kept, mut at) = (words[..5].to_vec(), 5);
    while at < words.len() {
        let length = (words[at] >> 16) as usize;
        // OpName and OpMemberName (SPIR-V specification, section 3.52.2).
        if !matches!(words[at] & 0xffff, 5 | 6) {
            kept.extend(&words[at..at + length]);
        }
        at += length;
    }
    kept
}

#[test]
fn words_that_do_not_do_are_named() {
    let saxpy = shipped("saxpy");
    let nothing = quote!();
    assert!(complaint(&stripped(saxpy), &nothing).contains("byte 0 has no name"));
    assert!(complaint(&[1, 2], &nothing).contains("not a SPIR-V module"));
    assert!(complaint(&saxpy[..40], &nothing).contains("word"));
    assert!(complaint(saxpy, &quote!(entry: "start")).contains("no compute entry point `start`"));
}

#[test]
fn types_that_do_not_do_are_named() {
    let saxpy = shipped("saxpy");
    let cases = [
        (quote!(args: { z: f32 }), "no argument `z`; it has `x`, `y`, `n`, `a`"),
        (quote!(args: { x: f32, x: f32 }), "`x` is given twice"),
        (quote!(args: { x: u32 }), "`x` is `f32` in the kernel, not `u32`"),
        (quote!(args: { n: f32 }), "`n` is `u32` in the kernel, not `f32`"),
        (quote!(args: { y: Ptr<f32> }), "may write through `y`: make it `PtrMut`"),
        (quote!(args: { n: Ptr<f32> }), "`n` has 4 bytes in the kernel, and an address has 8"),
    ];
    for (rest, expected) in cases {
        let found = complaint(saxpy, &rest);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn files_that_do_not_do_are_named() {
    let complaint = |tokens| match expand(tokens) {
        Ok(code) => panic!("it was accepted: {code}"),
        Err(error) => error.to_string(),
    };
    let missing = complaint(quote!(mod kernel, unsafe spv: "src/missing.spv"));
    assert!(missing.contains("`src/missing.spv` cannot be read: No such file"), "{missing}");
    assert!(missing.contains("relative to the folder of Cargo.toml"), "{missing}");
    let text = complaint(quote!(mod kernel, unsafe spv: "src/lib.rs"));
    assert!(text.contains("SPIR-V"), "{text}");
}

#[cfg(not(feature = "glsl"))]
#[test]
fn glsl_without_a_compiler_says_how_to_get_one() {
    let error = expand(quote!(mod kernel, source: "void main() {}")).unwrap_err().to_string();
    assert!(error.contains("needs the feature `glsl`"), "{error}");
}

#[cfg(feature = "glsl")]
#[test]
fn the_compiler_s_words_are_passed_on_with_file_and_line() {
    let path = "../kernels/glsl/saxpy.comp";
    let error = expand(quote!(mod kernel, path: #path)).unwrap_err().to_string();
    assert!(error.contains("../kernels/glsl/saxpy.comp:3: error: '#include'"), "{error}");
    let code = expand(quote!(mod kernel, path: #path, include: ["../kernels/glsl/include"]));
    let code = code.unwrap_or_else(|error| panic!("{error}")).to_string();
    assert_eq!(code.matches("include_bytes").count(), 2, "the file and the one that it includes");
}
