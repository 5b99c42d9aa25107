//! Styles that are each in a place of the picture, in one pass of libtorch's layers.

use nst_stream::engine::model_file::{Architecture, ModelFile};
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use tch::{Kind, Tensor};

use super::make::random_of;
use super::{cpu, model};

const FLOAT: (Kind, tch::Device) = (Kind::Float, tch::Device::Cpu);

fn two_styles() -> ModelFile {
    let mut model = random_of(
        "two",
        Architecture {
            widths: vec![8, 16, 32],
            residual_blocks: 1,
            styles: 2,
            ..Default::default()
        },
    );
    model.description.styles = ["a", "b"].map(str::to_owned).to_vec();
    model
}

fn network(model: &ModelFile) -> Network {
    Network::in_torch(model, cpu(), Precision::Fp32).unwrap()
}

/// Something to paint, of a size that is no multiple of 4.
fn picture() -> Tensor {
    let ramp = |length: i64| Tensor::arange(length, FLOAT);
    let waves = (ramp(61).reshape([1, 1, 61, 1]) * 0.3).sin() + (ramp(91) * 0.2).cos();
    let colors = Tensor::from_slice(&[30.0f32, 50.0, 60.0]).reshape([1, 3, 1, 1]);
    waves * colors + 127.5
}

/// Mean absolute difference.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().mean(Kind::Double).double_value(&[])
}

#[test]
fn the_same_shares_everywhere_are_a_blend() {
    let (x, mut network) = (picture(), network(&two_styles()));
    let shares = [0.25, 0.75];
    network.blend(&shares).unwrap();
    let blend = network.forward(&x).unwrap();
    for size in [[61, 91], [7, 5], [244, 364]] {
        let places = Tensor::from_slice(&shares)
            .reshape([1, 2, 1, 1])
            .expand([1, 2, size[0], size[1]], false);
        assert!(network.place(&places).unwrap());
        let placed = network.forward(&x).unwrap();
        let (off, spread) = (apart(&placed, &blend), apart(&blend, &blend.mean(Kind::Float)));
        assert!(off < 1e-4 * spread, "{size:?}: {off} of {spread}");
    }
    // And a blend is for everywhere again.
    network.blend(&shares).unwrap();
    assert!(apart(&network.forward(&x).unwrap(), &blend) == 0.0);
}

#[test]
fn inside_of_its_place_a_style_is_near_to_what_a_pass_of_its_own_makes() {
    let (x, mut network) = (picture(), network(&two_styles()));
    let [a, b] = [[1.0, 0.0], [0.0, 1.0]].map(|shares| {
        network.blend(&shares).unwrap();
        network.forward(&x).unwrap()
    });
    // The upper third is the first's.
    let places = Tensor::zeros([1, 2, 122, 182], FLOAT);
    let _ = places.narrow(1, 0, 1).narrow(2, 0, 40).fill_(1.0);
    let _ = places.narrow(1, 1, 1).narrow(2, 40, 82).fill_(1.0);
    assert!(network.place(&places).unwrap());
    let placed = network.forward(&x).unwrap();
    for (from, lines, own, other) in [(0, 14, &a, &b), (28, 33, &b, &a)] {
        let part = |x: &Tensor| x.narrow(2, from, lines);
        let (near, far) = (apart(&part(&placed), &part(own)), apart(&part(&placed), &part(other)));
        assert!(near < 0.5 * far, "lines from {from}: {near} from its own, {far} from the other");
    }
}

#[test]
fn a_network_of_one_style_has_no_places() {
    let places = Tensor::ones([1, 1, 8, 8], FLOAT);
    assert!(!network(&model("small")).place(&places).unwrap());
    // Nor does what is no map of its styles go on.
    assert!(!network(&two_styles()).place(&places).unwrap());
}
