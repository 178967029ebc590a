//! The kernels that farptr ships, analysed and rewritten in every form.

use super::forms::variants;
use super::tools::validate;
use crate::contract::analysis::{AccessKind, Analysis, Check, Root};
use crate::contract::error::RewriteError;
use crate::program::Program;
use farptr_kernels::{KernelDesc, saxpy, spmv, walk};

fn analysis<K: KernelDesc>() -> Analysis {
    Program::parse(K::words(), None).expect("the kernel can be rewritten").analysis().clone()
}

#[test]
fn every_form_of_every_kernel_is_valid() {
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, Some("main")).expect(name);
        for variant in variants() {
            let words = program.rewrite(&variant).expect(name);
            validate(&words, &format!("{name} as {variant:?}"));
        }
    }
}

#[test]
fn rewriting_gives_the_same_words_again() {
    for (name, words) in farptr_kernels::all() {
        let programs = [(); 2].map(|()| Program::parse(words, None).expect(name));
        for variant in variants() {
            let [one, other] = programs.each_ref().map(|program| program.rewrite(&variant));
            assert_eq!(one, other, "{name} as {variant:?}");
        }
    }
}

#[test]
fn saxpy_is_all_indices_from_two_roots() {
    let analysis = analysis::<saxpy::Kernel>();
    assert!(analysis.is_roots_only());
    let offsets = |&root| {
        let Root::Push { offset_bytes } = root;
        offset_bytes
    };
    let mut offsets: Vec<u32> = analysis.roots.iter().map(offsets).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 8]);
    assert_eq!(analysis.sites.len(), 3);
    for site in &analysis.sites {
        let Check::Index(check) = site.check else { panic!("{site:?} is no index") };
        let check = analysis.index_checks[check];
        assert_eq!(site.access, check.access);
        assert_eq!((check.stride_bytes, check.size_bytes, check.align_bytes), (4, 4, 4));
        assert_eq!(check.offset_bytes, 0);
    }
    let of = |access| analysis.sites.iter().filter(|site| site.access == access).count();
    assert_eq!((of(AccessKind::Read), of(AccessKind::Write)), (2, 1));
    assert_eq!(analysis.sites[0].instruction, "OpLoad");
    assert_eq!((analysis.loops, analysis.control_set), (0, 0));
    assert!(analysis.effects.writes && !analysis.effects.atomics);
}

#[test]
fn spmv_is_all_indices() {
    let analysis = analysis::<spmv::Kernel>();
    assert!(analysis.is_roots_only());
    assert_eq!(analysis.roots.len(), 5);
    assert_eq!(analysis.loops, 2);
}

#[test]
fn walk_follows_addresses_and_indices() {
    let analysis = analysis::<walk::Kernel>();
    assert!(!analysis.is_roots_only());
    assert!(analysis.effects.atomics);
    assert!(!analysis.effects.overwrites);
    let atomic = analysis.sites.iter().find(|site| site.access == AccessKind::Atomic);
    let Some(Check::Address(check)) = atomic.map(|site| site.check) else {
        panic!("the atomic operation is on an address")
    };
    let check = analysis.address_checks[check];
    assert_eq!((check.size_bytes, check.align_bytes), (4, 4));
    let walkers = analysis.sites.iter().filter(|site| matches!(site.check, Check::Index(_)));
    assert_eq!(walkers.count(), 2);
}

#[test]
fn entry_points_are_found_by_name() {
    let words = <saxpy::Kernel as KernelDesc>::words();
    let missing = Program::parse(words, Some("other")).map(|_| ());
    let expected = RewriteError::Entry { wanted: "`other`".to_owned(), found: "`main`".to_owned() };
    assert_eq!(missing, Err(expected));
}
