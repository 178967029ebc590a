//! Tiers and features.

use super::super::{Capabilities, Feature, Features, MirrorTier, OpenUffdError, Support, Uffd};
use super::rig::skip_tier;

#[test]
fn the_report_says_what_opening_finds() {
    let capabilities = Capabilities::probe();
    for tier in [MirrorTier::KernelFaults, MirrorTier::UserFaults] {
        let report = capabilities.tier(tier);
        assert_eq!(report.tier(), tier);
        let opened = Uffd::open(tier, Features::NONE, Features::NONE);
        assert_eq!(report.route().is_some(), opened.is_ok());
        assert_eq!(report.refusal().is_none(), opened.is_ok());
        for feature in Feature::ALL {
            let alone = Uffd::open(tier, feature.into(), Features::NONE);
            let support = report.support(feature);
            assert_eq!(support.is_some(), opened.is_ok());
            assert_eq!(support == Some(Support::Available), alone.is_ok(), "{feature}");
            assert_eq!(report.features().contains(feature), alone.is_ok(), "{feature}");
        }
    }
}

#[test]
fn every_feature_is_accounted_for_in_words() {
    let capabilities = Capabilities::probe();
    let text = capabilities.to_string();
    for tier in [MirrorTier::KernelFaults, MirrorTier::UserFaults] {
        assert!(text.contains(&format!("userfaultfd for {tier}: ")), "{text}");
        let part = capabilities.tier(tier).to_string();
        let works = capabilities.tier(tier).route().is_some();
        let listed = Feature::ALL.iter().all(|feature| part.contains(&format!("  {feature}: ")));
        assert_eq!(listed, works, "{part}");
        assert!(works || part.contains("missing: "), "{part}");
    }
}

#[test]
fn the_best_tier_is_the_one_that_privilege_gives() {
    let capabilities = Capabilities::probe();
    let kernel = capabilities.tier(MirrorTier::KernelFaults);
    match (kernel.refusal(), capabilities.best_tier()) {
        (None, best) => assert_eq!(best, Some(MirrorTier::KernelFaults)),
        (Some(error), best) => {
            skip_tier(MirrorTier::KernelFaults, error);
            assert_eq!(best, Some(MirrorTier::UserFaults));
            assert!(error.to_string().contains("/dev/userfaultfd: "), "{error}");
        }
    }
}

#[test]
fn only_the_report_of_forks_needs_a_privilege_of_its_own() {
    let capabilities = Capabilities::probe();
    let report = capabilities.tier(MirrorTier::UserFaults);
    let root = rustix::process::geteuid().is_root();
    let eperm = Support::Refused { os_error: libc::EPERM };
    let expected = if root { Support::Available } else { eperm };
    assert_eq!(report.support(Feature::EventFork), Some(expected));
    let needed = [
        Feature::EventRemap,
        Feature::EventRemove,
        Feature::EventUnmap,
        Feature::ThreadId,
        Feature::ExactAddress,
        Feature::WpUnpopulated,
        Feature::WpAsync,
        Feature::Poison,
        Feature::Move,
    ];
    for feature in needed {
        assert_eq!(report.support(feature), Some(Support::Available), "{feature}");
    }
}

#[test]
fn optional_features_are_had_where_they_can_be() {
    // A bit that no kernel gives yet, so that the first attempt fails.
    let impossible = Features::from_bits(1 << 63);
    let wanted = Features::from(Feature::Move) | Feature::WpUnpopulated.into();
    let uffd =
        Uffd::open(MirrorTier::UserFaults, Features::NONE, wanted | impossible).expect("uffd");
    assert_eq!(uffd.features(), wanted);
    assert_eq!(uffd.tier(), MirrorTier::UserFaults);
    let error = Uffd::open(MirrorTier::UserFaults, wanted | impossible, Features::NONE);
    let error = error.expect_err("no kernel has it");
    assert!(matches!(error, OpenUffdError::Features { .. }), "{error}");
    assert!(error.to_string().contains("WP_UNPOPULATED, MOVE"), "{error}");
}

#[test]
fn nobody_inherits_what_nobody_forked() {
    let uffd = Uffd::open(MirrorTier::UserFaults, Features::NONE, Features::NONE).expect("uffd");
    assert!(!uffd.is_inherited());
}
