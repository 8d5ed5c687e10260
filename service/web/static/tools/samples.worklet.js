// Hands the samples of the first channel on to the page, as they come.

class Samples extends AudioWorkletProcessor {
  process([[channel]]) {
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor("samples", Samples);
