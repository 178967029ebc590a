//! Multiplies with a sparse matrix and solves, or ranks: kernels read the matrix where it lies, in
//! vectors or in a mapped file, and the host reads their results where they were written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use farptr::Error;
use farptr_samples::args::CommonArgs;
use farptr_samples::linalg::{Linalg, Matrix};
use farptr_samples::matrix_input::MatrixInput;
use farptr_samples::progress::Progress;
use farptr_samples::rank::{Ranks, rank};
use farptr_samples::reference::spmv_f64;
use farptr_samples::report::Input;
use farptr_samples::run::{Outcome, Run, conclude, say_notes};
use farptr_samples::solve::{Solution, solve};
use farptr_samples::{CsrView, SampleError, csr_file, generate};

/// Multiplies with a sparse matrix and solves, or ranks the packages of a Debian machine
#[derive(Debug, Parser)]
#[command(name = "spmv", version)]
struct Args {
    /// Read a matrix: Matrix Market, plain, gzip or lz4, or a binary file made with --save (mapped)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["debian", "grid"])]
    matrix: Option<PathBuf>,
    /// Rank the packages that this Debian machine knows, by PageRank
    #[arg(long, conflicts_with = "grid")]
    debian: bool,
    /// Generate the matrix of a Poisson problem on a grid of N by N points
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=1 << 15))]
    grid: u32,
    /// Write the matrix to a binary file that --matrix maps
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The most iterations of the solver
    #[arg(long, value_name = "N", default_value_t = 5000)]
    iterations: u32,
    /// Seed of the vector that is multiplied
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    conclude("spmv", args.common.json, run(&args))
}

/// The work beside the product.
enum Second {
    Ranks(Ranks),
    Solution(Solution),
    Nothing,
}

fn run(args: &Args) -> Result<Outcome, SampleError> {
    let (mut run, input) = Run::begin("spmv", &args.common, |progress| load(args, progress))?;
    let matrix = input.view();
    let linalg = Linalg::new(&run.runtime).map_err(SampleError::runtime)?;
    let (x, mut y) = (generate::vector(matrix.cols, args.seed), vec![0.0; matrix.rows]);
    multiply(&run, &linalg, matrix, &x, &mut y).map_err(SampleError::runtime)?;
    let second = second(&run, &linalg, &input, &y, args.iterations);
    let second = second.map_err(SampleError::runtime)?;
    run.launched();

    let stage = run.progress.stage("checking", None);
    let mut lines = Vec::new();
    let checked = check(&input, &x, &y, &second, &mut lines);
    drop(stage);
    run.end(checked, lines)
}

fn load(args: &Args, progress: Progress) -> Result<(MatrixInput, Input), SampleError> {
    let stage = progress.stage("loading", None);
    let input = match &args.matrix {
        Some(path) => MatrixInput::file(path)?,
        None if args.debian => MatrixInput::debian(Path::new("/"))?,
        None => MatrixInput::poisson(args.grid as usize)?,
    };
    if let Some(path) = &args.save {
        csr_file::save(path, input.view())?;
    }
    drop(stage);
    let described = input.describe();
    say_notes("spmv", &described.name, input.notes());
    Ok((input, described))
}

/// `y = A x`, straight from where the matrix lies into where `y` lies.
fn multiply(
    run: &Run,
    linalg: &Linalg,
    matrix: CsrView<'_>,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), Error> {
    run.runtime.scope(|s| {
        let (a, x, y) = (Matrix::lend(s, matrix)?, s.lend(x)?, s.lend_mut(y)?);
        linalg.multiply(s, &a, x, y)
    })
}

/// Ranks packages, or solves where the matrix allows it; the product is the right-hand side.
fn second(
    run: &Run,
    linalg: &Linalg,
    input: &MatrixInput,
    y: &[f32],
    iterations: u32,
) -> Result<Second, Error> {
    if input.graph().is_some() {
        let mut stage = run.progress.stage("ranking", None);
        return rank(&run.runtime, linalg, input.view(), &mut stage).map(Second::Ranks);
    }
    let Some(jacobi) = input.jacobi() else { return Ok(Second::Nothing) };
    let mut stage = run.progress.stage("solving", None);
    solve(&run.runtime, linalg, input.view(), &jacobi, y, iterations, &mut stage)
        .map(Second::Solution)
}

/// Compares with the references; gives the largest error, and lines for a person.
fn check(
    input: &MatrixInput,
    x: &[f32],
    y: &[f32],
    second: &Second,
    lines: &mut Vec<String>,
) -> Result<f64, SampleError> {
    let product = spmv_f64(input.view(), x).check(input.view(), y)?;
    lines.push(format!("product  y = A x: largest error {product:.1e} of the terms' sizes"));
    let (error, line) = match second {
        Second::Ranks(ranks) => ranks.check(input.view(), input.graph())?,
        Second::Solution(solution) => solution.check(input, y)?,
        Second::Nothing => {
            (0.0, "solve    not tried: not symmetric with a positive diagonal".to_owned())
        }
    };
    lines.push(line);
    Ok(product.max(error))
}
