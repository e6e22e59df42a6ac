"""The table of tests/export/test_architectures.py: one classifier of each kind, by the exporter that users have."""

from __future__ import annotations

import functools

from onnxruntime.quantization import QuantFormat

from tests.architectures import attention, cnn, mobile
from tests.architectures import exits as own
from tests.architectures.entries import (
    CLASSES,
    SIDE,
    Entry,
    boosted_trees,
    fixture,
    mlp,
    quantised,
    samples,
    sklearn_model,
    torch_net,
)

__all__ = ["ENTRIES", "Entry", "samples"]

_IMAGE = functools.partial(Entry, kind="image")
_TOKENS = functools.partial(Entry, kind="tokens")
_TABLE = functools.partial(Entry, kind="table", exporter="skl2onnx")
_KERAS = functools.partial(Entry, kind="image_last")
ENTRIES = (
    _IMAGE("vgg16", write=torch_net(lambda: cnn.vgg16(8, CLASSES)), exporter="torch TorchScript", opset=11),
    _IMAGE(
        "resnet18",
        write=torch_net(lambda: cnn.resnet(cnn.Basic, (2, 2, 2, 2), 8, CLASSES)),
        exporter="torch dynamo",
        opset=18,
    ),
    _IMAGE(
        "resnet50",
        write=torch_net(lambda: cnn.resnet(cnn.Bottleneck, (3, 4, 6, 3), 8, CLASSES)),
        exporter="torch TorchScript",
        opset=12,
        batch="fixed",
    ),
    _IMAGE("densenet121", write=torch_net(lambda: cnn.densenet121(6, CLASSES)), exporter="torch TorchScript", opset=14),
    _IMAGE(
        "mobilenet_v2",
        write=torch_net(lambda: mobile.mobilenet_v2(2, CLASSES)),
        exporter="torch dynamo",
        opset=20,
        options={"probabilities": True},
    ),
    _IMAGE(
        "efficientnet_b0",
        write=torch_net(lambda: mobile.efficientnet_b0(4, CLASSES)),
        exporter="torch TorchScript",
        opset=13,
    ),
    _IMAGE(
        "nasnet_mobile",
        write=torch_net(lambda: mobile.NasNet(4, 2, CLASSES)),
        exporter="torch TorchScript",
        opset=15,
        width=2,
    ),
    _IMAGE(
        "convnext_tiny",
        write=torch_net(lambda: attention.convnext_tiny(8, CLASSES)),
        exporter="torch TorchScript",
        opset=17,
    ),
    _IMAGE("vit_b16", write=torch_net(lambda: attention.ViT(32, SIDE, 8, CLASSES)), exporter="torch dynamo", opset=23),
    _IMAGE(
        "vit_fixed",
        write=torch_net(lambda: attention.ViT(32, SIDE, 8, CLASSES, 4)),
        exporter="torch TorchScript",
        opset=16,
        batch="fixed",
    ),
    _IMAGE(
        "resnet18_float16",
        write=torch_net(lambda: cnn.resnet(cnn.Basic, (2, 2, 2, 2), 8, CLASSES)),
        exporter="torch TorchScript",
        opset=16,
        weights="float16",
    ),
    _IMAGE(
        "resnet18_bfloat16",
        write=torch_net(lambda: cnn.resnet(cnn.Basic, (2, 2, 2, 2), 8, CLASSES)),
        exporter="torch dynamo",
        opset=18,
        weights="bfloat16",
    ),
    _IMAGE(
        "resnet18_missing",
        write=torch_net(lambda: cnn.resnet(cnn.Basic, (2, 2, 2, 2), 8, CLASSES)),
        exporter="torch TorchScript",
        opset=17,
        batch="missing",
        cuts=False,
    ),
    _TOKENS("bert", write=torch_net(lambda: attention.bert(CLASSES)), exporter="torch dynamo", opset=18),
    _TOKENS(
        "distilbert", write=torch_net(lambda: attention.distilbert(CLASSES)), exporter="torch TorchScript", opset=14
    ),
    _TOKENS("gpt2", write=torch_net(lambda: attention.gpt2(CLASSES)), exporter="torch TorchScript", opset=17),
    _IMAGE(
        "msdnet",
        write=torch_net(lambda: own.Msdnet(4, CLASSES)),
        exporter="torch dynamo",
        opset=19,
        output="scores",
        exits=("exit1", "exit2"),
        width=3,
    ),
    _TOKENS(
        "deebert",
        write=torch_net(lambda: own.Deebert(CLASSES)),
        exporter="torch TorchScript",
        opset=17,
        output="scores",
        exits=("exit1", "exit2", "exit3"),
    ),
    _TOKENS(
        "bert_int8",
        write=quantised(lambda: attention.bert(CLASSES, layers=4), QuantFormat.QDQ, "torch dynamo"),
        exporter="torch dynamo, onnxruntime QDQ",
        opset=18,
        weights="int8",
    ),
    _IMAGE(
        "vit_int8",
        write=quantised(lambda: attention.ViT(32, SIDE, 8, CLASSES, 4), QuantFormat.QDQ, "torch TorchScript"),
        exporter="torch TorchScript, onnxruntime QDQ",
        opset=17,
        weights="int8",
    ),
    _IMAGE(
        "mobilenet_v2_int8",
        write=quantised(lambda: mobile.mobilenet_v2(2, CLASSES), QuantFormat.QOperator, "torch TorchScript"),
        exporter="torch TorchScript, onnxruntime QOperator",
        opset=17,
        weights="int8",
    ),
    _TABLE("mlp", write=sklearn_model(mlp), opset=15, output="probabilities"),
    _TABLE("boosted_trees", write=sklearn_model(boosted_trees), opset=19, output="probabilities", cuts=False),
    _KERAS("keras_tf2onnx", write=fixture("keras_mobile.onnx"), exporter="tf2onnx", opset=13),
    _KERAS("keras_export", write=fixture("keras_export.onnx"), exporter="keras", opset=15),
    _TOKENS("distilbert_optimum", write=fixture("optimum_distilbert.onnx"), exporter="optimum", opset=18),
    _TABLE(
        "lightgbm",
        write=fixture("onnxmltools_lightgbm.onnx"),
        exporter="onnxmltools",
        opset=9,
        output="probabilities",
        cuts=False,
        options={"zipmap": True},
    ),
)
