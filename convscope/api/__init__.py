"""The whole jobs. Python, the command line and the page all call these."""

from convscope.api.auditing import audit_data
from convscope.api.explaining import Explained, explain
from convscope.api.judging import compare, evaluate
from convscope.api.measuring import describe_machine
from convscope.api.packing import Packed, pack_data
from convscope.api.predicting import predict, predict_into, predictor_of
from convscope.api.results import LearningRate, Metrics, Run
from convscope.api.shipping import Exported, export
from convscope.api.showing import describe_data, networks, script, show_data, show_digits, summary
from convscope.api.training import find_lr, train
