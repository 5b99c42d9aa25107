//! Losses as a drawing: SVG and PNG.

use std::path::Path;

use anyhow::{Result, anyhow};
use image::RgbImage;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::loss_row::LossRow;
use crate::engine::model_file::write_atomically;

const SIZE: (u32, u32) = (960, 540);
/// Points of a line, at most: more would only blur it.
const POINTS: usize = 400;

/// Draws the loss terms over the steps, on a logarithmic scale, as `PATH.svg` and `PATH.png`. Each
/// point is the mean of some neighbouring steps, for a single batch's loss says little.
///
/// # Errors
/// When there are no losses, or the files cannot be written.
pub fn draw(rows: &[LossRow], path: &Path) -> Result<()> {
    readable_font();
    let (svg, png) = (path.with_extension("svg"), path.with_extension("png"));
    let mut text = String::new();
    chart(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), rows)?;
    write_atomically(&svg, text.as_bytes())?;
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    chart(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area(), rows)?;
    save_png(SIZE, pixels, &png)
}

/// Draws lines over time, each by its name, to an `.svg` or a picture file.
///
/// # Errors
/// When there is nothing to draw, or the file cannot be written.
pub fn draw_over_time(lines: &[(String, Vec<f64>)], x: &str, y: &str, path: &Path) -> Result<()> {
    readable_font();
    if path.extension().is_some_and(|ending| ending == "svg") {
        let mut text = String::new();
        over_time(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), lines, (x, y))?;
        return Ok(write_atomically(path, text.as_bytes())?);
    }
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
    over_time(&area, lines, (x, y))?;
    drop(area);
    save_png(SIZE, pixels, path)
}

fn over_time<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    lines: &[(String, Vec<f64>)],
    (x, y): (&str, &str),
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let longest = lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    if longest == 0 {
        return Err(anyhow!("there is nothing to draw"));
    }
    let most =
        lines.iter().flat_map(|(_, values)| values).fold(f64::MIN_POSITIVE, |a, b| a.max(*b));
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(1.0..(longest as f64).max(2.0), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .label_style(("sans-serif", 15))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    for (n, (name, values)) in lines.iter().enumerate() {
        let style = Palette99::pick(n).stroke_width(2);
        let points = values.iter().enumerate().map(|(frame, value)| ((frame + 1) as f64, *value));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    legend(&mut chart)?;
    area.present()?;
    Ok(())
}

fn save_png((width, height): (u32, u32), pixels: Vec<u8>, path: &Path) -> Result<()> {
    let picture = RgbImage::from_raw(width, height, pixels).ok_or(anyhow!("an empty drawing"))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(write_atomically(path, &bytes.into_inner())?)
}

/// The value of a step that a line shows.
type Of = fn(&LossRow) -> f64;

/// The fonts of a system may be missing, so one comes along (Ubuntu Light, Ubuntu Font Licence).
pub(super) fn readable_font() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // A font that cannot be read leaves a drawing without words.
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
}

fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    rows: &[LossRow],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(anyhow!("there are no losses to draw yet"));
    };
    let terms: [(&str, RGBColor, Of); 5] = [
        ("content", RGBColor(31, 119, 180), |row| row.terms.content),
        ("style", RGBColor(214, 39, 40), |row| row.terms.style),
        ("total variation", RGBColor(44, 160, 44), |row| row.terms.tv),
        ("temporal", RGBColor(148, 103, 189), |row| row.terms.temporal),
        ("total", RGBColor(60, 60, 60), |row| row.terms.total()),
    ];
    let lines: Vec<Vec<(f64, f64)>> = terms.iter().map(|(_, _, of)| line(rows, of)).collect();
    let values = || lines.iter().flatten().map(|(_, value)| *value);
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    // A term close to 0 would flatten the other lines.
    let least = values().fold(most, f64::min).max(most * 1e-5);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(
        first.step as f64..(last.step as f64).max(first.step as f64 + 1.0),
        (least * 0.8..most * 1.25).log_scale(),
    )?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss, weighted")
        .label_style(("sans-serif", 15))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.3e}"))
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    let drawn = terms.iter().zip(lines).filter(|(_, line)| line.iter().any(|(_, y)| *y > 0.0));
    for ((name, color, _), line) in drawn {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.into_iter().filter(|(_, y)| *y > 0.0), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    legend(&mut chart)?;
    area.present()?;
    Ok(())
}

fn legend<'a, B: DrawingBackend + 'a, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, B, Cartesian2d<RangedCoordf64, Y>>,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}

fn line(rows: &[LossRow], of: &Of) -> Vec<(f64, f64)> {
    let run = rows.len().div_ceil(POINTS).max(1);
    let mean = |rows: &[LossRow], of: &dyn Fn(&LossRow) -> f64| {
        rows.iter().map(of).sum::<f64>() / rows.len() as f64
    };
    let point = |rows: &[LossRow]| (mean(rows, &|row| row.step as f64), mean(rows, of));
    rows.chunks(run).map(point).collect()
}
