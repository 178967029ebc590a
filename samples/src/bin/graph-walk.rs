//! Breadth-first search and random walks over nodes that hold the host addresses of their
//! neighbours. Kernels follow the pointers; nothing is copied or translated into indices.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use farptr_samples::args::CommonArgs;
use farptr_samples::error::SampleError;
use farptr_samples::graph_input::GraphInput;
use farptr_samples::linked::{Linked, Walkers};
use farptr_samples::progress::Progress;
use farptr_samples::reference::{UNREACHED, bfs_levels, random_walks};
use farptr_samples::report::Input;
use farptr_samples::run::{Outcome, Run, conclude, say_notes};
use farptr_samples::{Graph, debian, generate, graph_input};

/// Searches and walks a graph of nodes that are linked by host pointers
#[derive(Debug, Parser)]
#[command(name = "graph-walk", version)]
struct Args {
    /// Read a graph: Matrix Market or a whitespace edge list, plain, gzip or lz4
    #[arg(long, value_name = "FILE", conflicts_with_all = ["debian", "scale"])]
    graph: Option<PathBuf>,

    /// Take each edge of the file both ways; an edge list is taken for directed unless its comments
    /// say otherwise (SNAP's "# Undirected graph", KONECT's "% sym")
    #[arg(long, requires = "graph")]
    undirected: bool,

    /// Take the dependency graph of the packages that this Debian machine knows
    #[arg(long, conflicts_with = "scale")]
    debian: bool,

    /// Generate a Kronecker graph of 2^N vertices, with Graph500's parameters
    #[arg(long, value_name = "N", default_value_t = 14,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(generate::MAX_SCALE)))]
    scale: u32,

    /// Start at this vertex, by name or number; the one with the most edges if not given
    #[arg(long, value_name = "VERTEX")]
    start: Option<String>,

    /// Walkers that walk at random
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    walkers: u32,

    /// Steps that each walker takes
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// Seed of generated graphs and of the walks
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u32,

    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    conclude("graph-walk", args.common.json, run(&args))
}

fn run(args: &Args) -> Result<Outcome, SampleError> {
    let (mut run, (graph, start)) =
        Run::begin("graph-walk", &args.common, |progress| load(args, progress))?;
    let mut linked = Linked::new(&graph);
    let walkers = Walkers { count: args.walkers, steps: args.steps, seed: args.seed };

    let mut stage = run.progress.stage("searching", Some(graph.vertices() as u64));
    let levels = linked.search(&run.runtime, start, &mut stage).map_err(SampleError::runtime)?;
    drop(stage);
    let mut stage = run.progress.stage("walking", Some(u64::from(args.steps)));
    let walked = linked.walk(&run.runtime, start, walkers, &mut stage);
    let last = walked.map_err(SampleError::runtime)?;
    drop(stage);
    run.launched();

    let stage = run.progress.stage("checking", None);
    let checked = check(&graph, start, &linked, walkers, &last);
    drop(stage);
    let lines = describe(&graph, start, &linked, levels, walkers);
    run.end(checked, lines)
}

fn load(args: &Args, progress: Progress) -> Result<((Graph, u32), Input), SampleError> {
    let stage = progress.stage("loading", None);
    let (name, graph, notes) = match &args.graph {
        Some(path) => {
            let GraphInput { graph, notes } = graph_input::read(path, args.undirected)?;
            (path.display().to_string(), graph, notes)
        }
        None if args.debian => {
            let packages = debian::load(Path::new("/"), false)?;
            let notes = packages.notes();
            ("debian".to_owned(), packages.graph, notes)
        }
        None => {
            let (scale, edges) = (args.scale, generate::EDGE_FACTOR);
            let name = format!("kronecker {scale}");
            let graph = generate::kronecker(scale, edges, u64::from(args.seed));
            (name.clone(), graph.map_err(|problem| problem.in_input(name))?, Vec::new())
        }
    };
    drop(stage);
    say_notes("graph-walk", &name, &notes);
    let start = graph.start(&name, args.start.as_deref())?;
    let (rows, entries) = (graph.vertices() as u64, graph.edges() as u64);
    Ok(((graph, start), Input { name, rows, cols: rows, entries }))
}

/// Compares with the references; both must agree to the bit, so the error is 0.
fn check(
    graph: &Graph,
    start: u32,
    linked: &Linked,
    walkers: Walkers,
    last: &[u32],
) -> Result<f64, SampleError> {
    equal("level of vertex", &linked.levels(), &bfs_levels(graph, start))?;
    let Walkers { count, steps, seed } = walkers;
    let expected = random_walks(graph, start, count, steps, seed);
    equal("visits of vertex", &linked.visits(), &expected.visits)?;
    equal("end of walker", last, &expected.last)?;
    Ok(0.0)
}

fn equal(what: &str, found: &[u32], expected: &[u32]) -> Result<(), SampleError> {
    let pairs = found.iter().zip(expected);
    match pairs.enumerate().find(|(_, (found, expected))| found != expected) {
        None if found.len() == expected.len() => Ok(()),
        None => Err(SampleError::Differs { what: what.into(), error: f64::INFINITY, bound: 0.0 }),
        Some((at, (&found, &expected))) => {
            let error = f64::from(found) - f64::from(expected);
            let what = format!("{what} {at}");
            Err(SampleError::Differs { what, error: error.abs(), bound: 0.0 })
        }
    }
}

fn describe(graph: &Graph, start: u32, linked: &Linked, levels: u32, w: Walkers) -> Vec<String> {
    let reached = linked.levels().iter().filter(|&&level| level != UNREACHED).count();
    let mut visits: Vec<(u32, u32)> = linked.visits().into_iter().zip(0u32..).collect();
    visits.sort_unstable_by(|one, other| other.cmp(one));
    let top: Vec<_> = visits.iter().take(5).map(|&(_, vertex)| graph.name(vertex)).collect();
    let start = graph.name(start);
    vec![
        format!("search  from {start}: {reached} vertices reached in {levels} levels"),
        format!(
            "walks   {} walkers, {} steps each; most visited: {}",
            w.count,
            w.steps,
            top.join(", ")
        ),
    ]
}
