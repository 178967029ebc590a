//! Structures that the derives accept, in a crate that allows no unsafe code of its own.
#![forbid(unsafe_code)]

use farptr::kind::Declared;
use farptr::{Lendable, LendableMut};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32};

/// A type of the name of a trait that the generated code uses.
#[derive(Lendable, LendableMut)]
#[repr(C, packed)]
struct Proof(u8, *const u32);

#[derive(Lendable)]
#[repr(C, align(16))]
struct Node<'a, 'b>
where
    'b: 'static,
{
    parent: Option<&'a Self>,
    children: [Option<&'b Node<'b, 'b>>; 4],
    r#type: NonNull<Proof>,
    wide: [u8; 40],
    text: (),
    inner: Inner<'a>,
}

#[derive(Lendable)]
#[repr(transparent)]
struct Inner<'a>(&'a str_free::Name, PhantomData<u32>);

mod str_free {
    pub(super) struct Name(
        #[expect(dead_code, reason = "a kernel reads its address")] pub(super) String,
    );
}

#[derive(LendableMut)]
#[repr(C)]
struct Counters {
    count: [AtomicU32; 2],
    list: AtomicPtr<Counters>,
    last: Option<NonNull<Counters>>,
    proof: [Proof; 2],
    odd: [u8; 6],
}

#[derive(Lendable, LendableMut)]
#[repr(C)]
struct Empty {}

const fn read<T: Lendable<Declared>>() {}

const fn written<T: LendableMut<Declared>>() {}

#[test]
fn they_implement_the_traits() {
    const { read::<Node<'static, 'static>>() };
    const { read::<[Inner<'static>; 3]>() };
    const { written::<[Counters; 2]>() };
    const { (read::<Empty>(), written::<Empty>()) };
    const { (read::<Proof>(), written::<Proof>()) };
    let name = str_free::Name(String::new());
    let inner = Inner(&name, PhantomData);
    assert_eq!((size_of_val(&inner), size_of::<Proof>()), (8, 9));
    assert_eq!((size_of::<Node<'_, '_>>(), size_of::<Counters>()), (96, 48));
}
