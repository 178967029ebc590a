//! The arguments of a kernel, from its words and from the types that the user gives.

use crate::checks::{Checks, show};
use crate::constants::Constant;
use crate::input::{Input, Pointer, Typed};
use crate::module::Module;
use crate::names::{check_number, ident, named, plain_number};
use crate::value::Value;
use farptr_rewrite::{Layout, Member, Number, PointerUse};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, Result, Type};

/// The arguments, and assertions about their types.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) arguments: Vec<Argument>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) checks: Vec<TokenStream>,
}

/// An argument.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: Ident,
    /// The byte of the push constants at which it begins.
    pub(crate) offset_bytes: u32,
    pub(crate) kind: Kind,
}

/// The nature of an argument.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An address.
    Address { to: TokenStream, writes: bool, nullable: bool },
    /// Anything else.
    Value(Value),
}

impl Plan {
    pub(crate) fn new(input: &Input, module: &Module) -> Result<Self> {
        let members = module.arguments.members();
        check_names(input, members)?;
        let constants = Constant::all(&module.reflection.constants, input.kernel.span())?;
        let mut plan = Self { arguments: Vec::new(), constants, checks: Vec::new() };
        for member in members {
            let typed = input.args.iter().find(|typed| is_named(typed, member));
            let span = typed.map_or(input.kernel.span(), |typed| typed.of.span());
            let name = argument_name(member, typed, span)?;
            let mut checks = Checks::new(span);
            let uses = &module.analysis.uses;
            let kind = if is_address(member, typed, uses) {
                address(member, typed, module, &mut checks)?
            } else {
                value(member, typed, &mut checks)?
            };
            plan.arguments.push(Argument { name, offset_bytes: member.offset_bytes, kind });
            plan.checks.append(&mut checks.code);
        }
        Ok(plan)
    }
}

fn is_named(typed: &Typed, member: &Member) -> bool {
    ident(&member.name, Span::call_site()).is_some_and(|name| typed.name == name)
}

/// Refuses types for arguments that the kernel does not have.
fn check_names(input: &Input, members: &[Member]) -> Result<()> {
    for (index, typed) in input.args.iter().enumerate() {
        if !members.iter().any(|member| is_named(typed, member)) {
            let names: Vec<_> = members.iter().map(|member| format!("`{}`", member.name)).collect();
            let all = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let text = format!("the kernel has no argument `{}`; it has {all}", typed.name);
            return Err(Error::new(typed.name.span(), text));
        }
        if input.args[..index].iter().any(|other| other.name == typed.name) {
            let text = format!("the type of `{}` is given twice", typed.name);
            return Err(Error::new(typed.name.span(), text));
        }
    }
    Ok(())
}

fn argument_name(member: &Member, typed: Option<&Typed>, span: Span) -> Result<Ident> {
    let name = ident(&member.name, Span::call_site());
    let name = typed.map(|typed| typed.name.clone()).or(name);
    name.ok_or_else(|| {
        let text = format!(
            "the argument at byte {} has no name that Rust can have, `{}`; compile the kernel with \
             names (without spirv-opt --strip-debug)",
            member.offset_bytes, member.name
        );
        Error::new(span, text)
    })
}

/// Whether an argument is an address: to the user, to the kernel, or by its use.
fn is_address(member: &Member, typed: Option<&Typed>, uses: &[PointerUse]) -> bool {
    let is_said = typed.is_some_and(|typed| typed.pointer.is_some() || typed.nullable);
    let fits = match &member.layout {
        Layout::Pointer { .. } => return true,
        Layout::Number(Number::Int { bits: 64, .. })
        | Layout::Vector { of: Number::Int { bits: 32, .. }, count: 2 } => true,
        Layout::Array { element, length: Some(2), stride_bytes: 4 } => {
            matches!(**element, Layout::Number(Number::Int { bits: 32, .. }))
        }
        _ => false,
    };
    let is_used = uses.iter().any(|one| one.push_offset_bytes == Some(member.offset_bytes));
    is_said || (fits && is_used)
}

fn value(member: &Member, typed: Option<&Typed>, checks: &mut Checks) -> Result<Kind> {
    let given = typed.map(|typed| &typed.of);
    Ok(Kind::Value(Value::new(&member.name, &member.layout, given, checks)?))
}

fn address(
    member: &Member,
    typed: Option<&Typed>,
    module: &Module,
    checks: &mut Checks,
) -> Result<Kind> {
    let name = &*member.name;
    if member.layout.size_bytes() != 8 {
        let text = format!(
            "`{name}` has {} bytes in the kernel, and an address has 8",
            member.layout.size_bytes()
        );
        return Err(Error::new(checks.span, text));
    }
    let uses = &module.analysis.uses;
    let own = uses.iter().filter(|one| one.push_offset_bytes == Some(member.offset_bytes));
    let mut types = Vec::new();
    if let Layout::Pointer { pointer_type } = member.layout {
        types.push(pointer_type);
    }
    for one in own.clone() {
        if !types.contains(&one.pointer_type) {
            types.push(one.pointer_type);
        }
    }
    let given = typed.and_then(|typed| typed.pointer);
    let writes = writes(name, given, &types, member.offset_bytes, uses, checks.span)?;
    let wanted = typed.map(|typed| &typed.of).filter(|of| !matches!(of, Type::Infer(_)));
    let align = own.map(|one| one.align_bytes).max().unwrap_or(1);
    let to = pointee(name, (wanted, align), &types, module, checks)?;
    if align > 1 {
        checks.aligned(&to, align, name);
    }
    let nullable = typed.is_some_and(|typed| typed.nullable);
    Ok(Kind::Address { to, writes, nullable })
}

/// Whether a kernel may write through an address.
fn writes(
    name: &str,
    given: Option<Pointer>,
    types: &[u32],
    offset_bytes: u32,
    uses: &[PointerUse],
    span: Span,
) -> Result<bool> {
    let concerns = |one: &&PointerUse| match one.push_offset_bytes {
        Some(at) => at == offset_bytes,
        // It came from anywhere, so from here if it has the type.
        None => types.contains(&one.pointer_type),
    };
    let found = uses.iter().filter(concerns).any(|one| one.access.writes());
    if found && given == Some(Pointer::Read) {
        let text = format!("the kernel may write through `{name}`: make it `PtrMut`");
        return Err(Error::new(span, text));
    }
    Ok(found || given == Some(Pointer::Write))
}

/// The type that an address leads to, where the user gives one or not and it is aligned so.
fn pointee(
    name: &str,
    (given, align): (Option<&Type>, u32),
    types: &[u32],
    module: &Module,
    checks: &mut Checks,
) -> Result<TokenStream> {
    let mut found: Option<TokenStream> = given.map(|of| quote!(#of));
    for &pointer_type in types {
        let Some((layout, stride)) = module.arguments.pointee(pointer_type) else { continue };
        let (element, stride) = element(&layout, stride);
        let of = match given {
            Some(of) => {
                if let (Layout::Number(number), Some(given)) = (element, plain_number(of)) {
                    check_number(name, *number, &given, checks.span)?;
                }
                quote!(#of)
            }
            None => plain(name, element, align, checks.span)?,
        };
        if let Some(other) = found.as_ref().filter(|found| found.to_string() != of.to_string()) {
            let text = format!(
                "the kernel finds `{}` and `{}` behind `{name}`; give the type: \
                 `args: {{ {name}: Type }}`",
                show(other),
                show(&of)
            );
            return Err(Error::new(checks.span, text));
        }
        match stride {
            Some(stride) => checks.apart(&of, stride, name),
            None => checks.at_least(&of, element.size_bytes(), name),
        }
        if let Layout::Struct(structure) = element {
            checks.fields(&of, structure);
        }
        found = Some(of);
    }
    found.ok_or_else(|| {
        let text = format!("`{name}` points to what has no layout; give its type");
        Error::new(checks.span, text)
    })
}

/// The value behind a pointer to a block: the elements of its only member if that is an array,
/// its only member, or the block. With it come the bytes from one to the next, if they are known.
fn element(block: &Layout, stride: Option<u32>) -> (&Layout, Option<u32>) {
    let only = match block {
        Layout::Struct(structure) => match &structure.members[..] {
            [only] if only.offset_bytes == 0 => &only.layout,
            _ => block,
        },
        _ => block,
    };
    match only {
        Layout::Array { element, stride_bytes, .. } => (element, Some(*stride_bytes)),
        _ => (only, stride),
    }
}

/// The type of what a kernel finds behind an address, if it is plain or has a name.
fn plain(name: &str, element: &Layout, align: u32, span: Span) -> Result<TokenStream> {
    // Kernels without 64-bit integers have addresses as two words.
    if align == 8
        && matches!(element, Layout::Vector { of: Number::Int { bits: 32, .. }, count: 2 })
    {
        return Ok(quote!(::core::primitive::u64));
    }
    if let Layout::Struct(structure) = element {
        return named(name, structure, span);
    }
    // The size is compared with the kernel's later.
    Ok(Value::new(name, element, None, &mut Checks::new(span))?.of())
}
