//! The matrix that a sample runs on: read, mapped, made from packages, or generated.

use std::path::Path;

use crate::csr::{Csr, CsrView};
use crate::csr_file::CsrFile;
use crate::error::SampleError;
use crate::graph::Graph;
use crate::report::Input;
use crate::{debian, generate, input, matrix_market};

/// A matrix with where it came from.
#[derive(Debug)]
pub struct MatrixInput {
    name: String,
    arrays: Arrays,
    graph: Option<Graph>,
    generated: bool,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Arrays {
    Vectors(Csr),
    Mapped(CsrFile),
}

impl MatrixInput {
    /// Maps a binary CSR file, or reads a Matrix Market file into vectors.
    ///
    /// # Errors
    /// Those of [`CsrFile::map`] or [`matrix_market::read`].
    pub fn file(path: &Path) -> Result<Self, SampleError> {
        let binary = input::begins_with(path, &crate::csr_file::MAGIC)?;
        let arrays = if binary {
            Arrays::Mapped(CsrFile::map(path)?)
        } else {
            Arrays::Vectors(matrix_market::read(path)?)
        };
        let (name, notes) = (path.display().to_string(), Vec::new());
        Ok(Self { name, arrays, graph: None, generated: false, notes })
    }

    /// Makes the link matrix of the packages that a Debian machine knows, for PageRank.
    ///
    /// # Errors
    /// Those of [`debian::load`].
    pub fn debian(root: &Path) -> Result<Self, SampleError> {
        let packages = debian::load(root, false)?;
        let (notes, graph) = (packages.notes(), packages.graph);
        let links = graph.link_matrix().map_err(|problem| problem.in_input("debian"))?;
        let arrays = Arrays::Vectors(links);
        Ok(Self { name: "debian".into(), arrays, graph: Some(graph), generated: false, notes })
    }

    /// Generates the matrix of a 2-D Poisson problem.
    ///
    /// # Errors
    /// [`SampleError::Bad`] when the grid is too large.
    pub fn poisson(grid: usize) -> Result<Self, SampleError> {
        let name = format!("poisson {grid}x{grid}");
        let matrix = generate::poisson_2d(grid).map_err(|problem| problem.in_input(&name))?;
        let (arrays, notes) = (Arrays::Vectors(matrix), Vec::new());
        Ok(Self { name, arrays, graph: None, generated: true, notes })
    }

    /// The matrix, where it lies.
    #[must_use]
    pub fn view(&self) -> CsrView<'_> {
        match &self.arrays {
            Arrays::Vectors(matrix) => matrix.view(),
            Arrays::Mapped(file) => file.view(),
        }
    }

    /// The graph whose link matrix this is, if it is one.
    #[must_use]
    pub fn graph(&self) -> Option<&Graph> {
        self.graph.as_ref()
    }

    /// Remarks on its source, for a person.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether the matrix is known to be symmetric and positive definite, because it was generated.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.generated
    }

    /// Its description for the report.
    #[must_use]
    pub fn describe(&self) -> Input {
        let matrix = self.view();
        Input {
            name: self.name.clone(),
            rows: matrix.rows as u64,
            cols: matrix.cols as u64,
            entries: matrix.entries() as u64,
        }
    }

    /// The reciprocals of the diagonal, if the matrix can be positive definite: symmetric, with a
    /// positive diagonal.
    #[must_use]
    pub fn jacobi(&self) -> Option<Vec<f32>> {
        let matrix = self.view();
        let diagonal = (0..matrix.rows).zip(0u32..).map(|(row, number)| {
            let (columns, values) = matrix.row(row);
            let pairs = columns.iter().zip(values).filter(|&(&column, _)| column == number);
            pairs.map(|(_, &value)| value).sum::<f32>()
        });
        let inverse: Option<Vec<f32>> =
            diagonal.map(|value| (value > 0.0).then(|| value.recip())).collect();
        inverse.filter(|_| matrix.is_symmetric())
    }
}
